"""How the inner loops are compiled: once per machine and version of this package, kept in the user's cache.

numba compiles a kept function anew when its own file changes, not when a function that it calls does: the folder is
therefore named after all the sources.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from inspect import unwrap
from pathlib import Path
from typing import Any
from uuid import uuid4

import numba

from dptt.kernels.disk_cache import cache_folder, own_folder

config: Any = numba.config

_SAFE_FOR_NAN = {"contract", "reassoc", "nsz", "arcp"}
"""Sums may be reordered, which vectorises them; NaN and infinity keep their meaning, so that a bad loss shows."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop to machine code that runs without the interpreter's lock."""
    function = unwrap(function)  # under pytest every function is wrapped to check the shapes it is given
    compile_ = partial(numba.njit, nogil=True, fastmath=_SAFE_FOR_NAN, error_model="numpy")
    before = config.CACHE_DIR
    config.CACHE_DIR = _folder()
    try:
        result = compile_(cache=True)(function)
        _name_files_apart(result)
        return result
    except RuntimeError:  # no folder is writable
        return compile_()(function)
    finally:
        config.CACHE_DIR = before


def _name_files_apart(function: Any) -> None:
    """Give every cached version of a function a file of its own.

    numba counts them: two processes that compile for different types at the same moment would write one file, and
    the index would name it for both. So at worst one is missing from the index, and is compiled again.
    """
    with suppress(AttributeError):  # an internal of numba, which may change
        file = function._cache._cache_file
        base = Path(file._index_path).stem
        file._data_name = lambda number: f"{base}.{uuid4().hex}.nbc"


@cache
def _folder() -> str:
    own = Path(__file__).parent
    sources = [*sorted(own.glob("*.py")), own.parent / "losses.py"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    folder = Path(config.CACHE_DIR) / "dptt" if config.CACHE_DIR else cache_folder()
    return str(own_folder(folder / f"kernels-{digest}"))
