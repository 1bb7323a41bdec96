"""Reading HDF5 files: how they are opened, and the attributes `format` and `version`. `hdf5_writing` writes them.

Any number of processes can read a file at once.

Whatever HDF5 and h5py raise about a damaged file becomes one kind of error in `damage_reported`, and nowhere else.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.errors import ProblemsError

CHUNK_CACHE_BYTES = 32 * 2**20
"""Cache of each open dataset. The patterns of a tilt have a cache of their own, see `patterns`."""
CURE = "Copy or write it again."


class _DamagedItem(Exception):
    """A dataset or attribute cannot be read; the message names it."""


@contextmanager
def damage_reported(path: str | Path, error: type[ProblemsError], cure: str = CURE) -> Iterator[None]:
    """Let the block read the HDF5 file `path`; whatever a damaged file makes HDF5 or h5py raise becomes `error`.

    One wrong bit can make h5py raise almost anything: KeyError for a link, TypeError for a type, UnicodeDecodeError
    for a name, MemoryError for a size. So the block must do nothing but read.

    Raises
    ------
    ProblemsError
        Of type `error`; names the dataset or attribute if it was read within `naming`.
    """
    try:
        yield
    except ProblemsError:  # already clear
        raise
    except _DamagedItem as failure:
        raise error(path, [f"{failure}. {cure}"]) from failure
    except Exception as failure:
        if _is_of_program(failure):
            raise
        raise error(path, [f"is damaged ({reason(failure)}). {cure}"]) from failure


def _is_of_program(failure: Exception) -> bool:
    """Return whether an assertion of dptt fails, not one of a library, which damage can make fail."""
    frame = failure.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    module = "" if frame is None else str(frame.tb_frame.f_globals.get("__name__"))
    return isinstance(failure, AssertionError) and module.partition(".")[0] == "dptt"


def reason(failure: Exception) -> str:
    """Return what `failure` says, on one line; the name of its type if it says nothing."""
    if "filter returned failure" in str(failure):
        return "it does not match its checksum, or cannot be decompressed"
    said = failure.args[0] if isinstance(failure, KeyError) and failure.args else failure  # its str() adds quotes
    return " ".join(str(said).split()) or type(failure).__name__


@contextmanager
def naming(item: str) -> Iterator[None]:
    """Let the block read `item`; within `damage_reported`, the error names it if it cannot be read."""
    try:
        yield
    except (ProblemsError, _DamagedItem):
        raise
    except Exception as failure:
        if _is_of_program(failure):
            raise
        raise _DamagedItem(f"{item} cannot be read ({reason(failure)})") from failure


def read_array(group: h5py.Group, name: str) -> NDArray[Any]:
    """Return all elements of the dataset `name`; see `naming`."""
    with naming(f"{group.name or ''}/{name}".lstrip("/")):
        return np.asarray(group[name][()])


def read_optional(group: h5py.Group, name: str) -> NDArray[Any] | None:
    """Return all elements of the dataset `name`, None if there is none."""
    return None if member(group, name) is None else read_array(group, name)


def member(group: h5py.Group, name: str) -> Any:
    """Return the group or dataset `name`, None if there is none or if it is a soft or external link to nothing.

    Unlike ``group.get(name)``, which takes a member with a damaged head for none; see `naming`.
    """
    with naming(f"{group.name or ''}/{name}".lstrip("/")):
        if name not in list(group):
            return None
        is_own = group.id.links.get_info(name.encode()).type == h5py.h5l.TYPE_HARD
        return group[name] if is_own else group.get(name)


def read_attribute(attributes: Mapping[str, Any], name: str) -> Any:
    """Return the attribute `name`; see `naming`."""
    with naming(f"attribute {name}"):
        return attributes[name]


@contextmanager
def reading(path: str | Path, error: type[ProblemsError], cure: str = CURE) -> Iterator[h5py.File]:
    """Yield the HDF5 file `path`, open for a block that does nothing but read it.

    Raises
    ------
    ProblemsError
        Of type `error`: the file is missing, cannot be opened, or is damaged where the block reads it.
    """
    with open_for_reading(path, error) as file, damage_reported(path, error, cure):
        yield file


def open_for_reading(path: str | Path, error: type[ProblemsError], mpi: Any = None) -> h5py.File:
    """Return the HDF5 file `path` opened read-only and without a lock, or raise `error` with the reason.

    Locks are off because many ranks read one file, often from network file systems that have no locks.

    Parameters
    ----------
    path
        The file.
    error
        Type of the exception to raise.
    mpi
        A communicator of mpi4py, all of whose ranks call this together. The file is opened through MPI if h5py was
        built with it; otherwise every rank opens the file by itself.
    """
    path = Path(path)
    if not path.exists():
        raise error(path, ["there is no such file. Check the path (it is relative to the current folder)."])
    if path.is_dir():
        raise error(path, ["is a folder; expected an HDF5 file. Name the file inside it."])
    try:
        if mpi is not None and h5py.get_config().mpi:
            return h5py.File(path, "r", driver="mpio", comm=mpi, rdcc_nbytes=CHUNK_CACHE_BYTES)
        return h5py.File(path, "r", locking=False, rdcc_nbytes=CHUNK_CACHE_BYTES)
    except Exception as failure:
        raise error(path, [_why_not_readable(path, failure)]) from failure


@contextmanager
def reading_format(
    path: str | Path, error: type[ProblemsError], *, file_format: str, version: int, command: str
) -> Iterator[h5py.File]:
    """Yield the file `path`, open for a block that does nothing but read it, after a check of format and version.

    Parameters
    ----------
    path
        The file.
    error
        Type of the exception to raise.
    file_format, version
        Expected value of the attribute `format`, and the highest `version` that this program can read.
    command
        The dptt command that writes such files, for the message.

    Raises
    ------
    ProblemsError
        Of type `error`: the file is missing, damaged, or of another format or version.
    """
    with reading(path, error, f"Copy it again, or run `dptt {command}` again.") as file:
        problems = list(format_problems(file, file_format, version, f"Name a file written by `dptt {command}`."))
        if problems:
            raise error(path, problems)
        yield file


def _why_not_readable(path: Path, failure: Exception) -> str:
    size = path.stat().st_size
    if "truncated" in str(failure):
        return f"is truncated at {size} bytes ({failure}). {CURE}"
    if isinstance(failure, PermissionError):
        return f"cannot be read: permission denied ({failure}). Change its permissions."
    if not h5py.is_hdf5(path):
        return f"is not an HDF5 file, or its beginning is damaged ({size} bytes). {CURE}"
    return f"cannot be opened by HDF5 ({reason(failure)}). {CURE}"


def format_problems(file: h5py.File, file_format: str, version: int, cure: str) -> Iterator[str]:
    """Yield why `file` is not a file of `file_format` in a version up to `version`."""
    stored = text(read_attribute(file.attrs, "format")) if "format" in file.attrs else None
    if stored != file_format:
        yield f"attribute format is {stored!r}; expected {file_format!r}. {cure}"
        return
    number = read_attribute(file.attrs, "version") if "version" in file.attrs else None
    if not isinstance(number, int | np.integer) or not 1 <= number <= version:
        yield f"attribute version is {number!r}; expected 1 to {version}. Update dptt, or write the file again."


def text(value: object) -> str:
    """Return an attribute or scalar dataset as text, whether it was stored as bytes or as a string."""
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def plain_value(stored: Any) -> Any:
    """Return an attribute or scalar dataset as the Python value from which it was written."""
    if isinstance(stored, bytes | str):
        return text(stored)
    return stored.item() if isinstance(stored, np.generic) else stored


def plain_values(attributes: Mapping[str, Any], without: tuple[str, ...]) -> dict[str, Any]:
    """Return all attributes but those named in `without`, as Python values."""
    return {name: plain_value(read_attribute(attributes, name)) for name in attributes if name not in without}
