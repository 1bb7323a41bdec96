"""Opening HDF5 files: for reading by any number of processes, and for writing so that old readers can read them."""

from pathlib import Path
from typing import Any

import h5py

from dptt.io.errors import ProblemsError

CHUNK_CACHE_BYTES = 32 * 2**20  # of each open dataset; patterns of a tilt have their own, see `patterns`
# HDF5 1.8 structures lift the 64 KiB limit on attributes (a configuration text may be longer); 1.10 reads all of it.
LIBRARY_VERSIONS = ("v108", "v110")


def open_for_reading(path: str | Path, error: type[ProblemsError], mpi: Any = None) -> h5py.File:
    """Return the HDF5 file `path` opened read-only and without a lock, or raise `error` saying why not.

    Locks are off because many ranks read one file, often from network file systems that have no locks.

    Parameters
    ----------
    path
        The file.
    error
        What to raise.
    mpi
        A communicator of mpi4py, all of whose ranks call this together: the file is opened through MPI where h5py
        was built with it, and by every rank for itself where not.
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


def _why_not_readable(path: Path, failure: OSError) -> str:
    size = path.stat().st_size
    if "truncated" in str(failure):
        return f"is truncated at {size} bytes ({failure}). Copy or write it again."
    if isinstance(failure, PermissionError):
        return f"may not be read ({failure}). Change its permissions."
    if not h5py.is_hdf5(path):
        return f"is not an HDF5 file, or its beginning is damaged ({size} bytes). Copy or write it again."
    return f"cannot be opened by HDF5 ({failure}). Copy or write it again."


def create_file(path: Path) -> h5py.File:
    """Return a new, empty HDF5 file that HDF5 1.10 and later can read."""
    return h5py.File(path, "w", libver=LIBRARY_VERSIONS)


def text(value: object) -> str:
    """Return an attribute or scalar dataset as text, whether it was stored as bytes or as a string."""
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
