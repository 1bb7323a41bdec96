"""Libraries that only some formats need: imported when such a file is opened, never before."""

import importlib
from pathlib import Path
from types import ModuleType

from dptt.io.errors import ImportDescriptionError


def library(name: str, path: Path, format_name: str) -> ModuleType:
    """Return the module `name`, which is needed to read the file `path`.

    Raises
    ------
    ImportDescriptionError
        It is not installed, or does not work; the message says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as failure:
        problem = f"is {format_name}, which dptt reads with {name} ({failure}). Run: pip install 'dptt[formats]'"
        raise ImportDescriptionError(path, [problem]) from failure
