"""What all HDF5 files of dptt share: how they are opened and created, and the attributes `format` and `version`.

Any number of processes can read a file at once. Files are written so that HDF5 1.10 and later can read them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dptt.io.errors import ProblemsError

CHUNK_CACHE_BYTES = 32 * 2**20
"""Cache of each open dataset. The patterns of a tilt have a cache of their own, see `patterns`."""
LIBRARY_VERSIONS = ("v108", "v110")
"""Structures of HDF5 1.8 lift the 64 KiB limit on attributes: a configuration may be longer. HDF5 1.10 reads them."""


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
    except OSError as failure:
        raise error(path, [_why_not_readable(path, failure)]) from failure


def open_format(
    path: str | Path, error: type[ProblemsError], *, file_format: str, version: int, command: str
) -> h5py.File:
    """Return the file `path` opened for reading, after a check of its format and version.

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
    """
    file = open_for_reading(path, error)
    problems = list(format_problems(file, file_format, version, f"Name a file written by `dptt {command}`."))
    if problems:
        file.close()
        raise error(path, problems)
    return file


def _why_not_readable(path: Path, failure: OSError) -> str:
    size = path.stat().st_size
    if "truncated" in str(failure):
        return f"is truncated at {size} bytes ({failure}). Copy or write it again."
    if isinstance(failure, PermissionError):
        return f"cannot be read: permission denied ({failure}). Change its permissions."
    if not h5py.is_hdf5(path):
        return f"is not an HDF5 file, or its beginning is damaged ({size} bytes). Copy or write it again."
    return f"cannot be opened by HDF5 ({failure}). Copy or write it again."


def create_file(path: Path) -> h5py.File:
    """Return a new, empty HDF5 file that HDF5 1.10 and later can read."""
    return h5py.File(path, "w", libver=LIBRARY_VERSIONS)


def write_format(
    file: h5py.File, file_format: str, version: int, attributes: Mapping[str, str | int | float] | None = None
) -> None:
    """Store format, version and provenance `attributes` in a new file."""
    file.attrs.update(attributes or {})
    file.attrs["format"], file.attrs["version"] = file_format, version


def format_problems(file: h5py.File, file_format: str, version: int, cure: str) -> Iterator[str]:
    """Yield why `file` is not a file of `file_format` in a version up to `version`."""
    stored = text(file.attrs["format"]) if "format" in file.attrs else None
    if stored != file_format:
        yield f"attribute format is {stored!r}; expected {file_format!r}. {cure}"
        return
    number = file.attrs.get("version")
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
    return {name: plain_value(value) for name, value in attributes.items() if name not in without}
