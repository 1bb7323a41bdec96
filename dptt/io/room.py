"""Room on the disk, taken before a large file is written, so that HDF5 cannot stumble over a full disk or quota.

HDF5 cannot close a file whose metadata it could not write: it complains at length and keeps the file open. So the
room is asked for first, from the system, whose refusal is an OSError that says why.
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from dptt.io.hdf5_file import create_file

METADATA_BYTES = 2**20
"""More than the metadata of a file with some hundred tilts take."""
TRIAL_BYTES = 64 * 2**20
"""Written for trial where the file system cannot take room in advance."""


@contextmanager
def create_with_room(path: Path, content_bytes: int) -> Iterator[h5py.File]:
    """Yield a new HDF5 file `path`, made where there is room for it; afterwards, what was allocated is taken.

    Raises
    ------
    OSError
        There is no room for `content_bytes` of arrays and the metadata.
    """
    take_room(path, content_bytes + METADATA_BYTES)
    with create_file(path) as file:
        yield file
    take_room(path, path.stat().st_size)


def take_room(path: Path, size: int) -> None:
    """Let the file `path` have `size` bytes on the disk, and not only in its name.

    Raises
    ------
    OSError
        The disk is full, a quota or another limit reached.
    """
    with path.open("ab") as file:
        failure = _allocate(file.fileno(), size)
        if failure in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            missing = min(size, TRIAL_BYTES) - file.tell()
            file.write(bytes(max(missing, 0)))
            file.flush()
            os.fsync(file.fileno())  # network file systems refuse only here
        elif failure:
            raise OSError(failure, os.strerror(failure), str(path))


def _allocate(descriptor: int, size: int) -> int:
    """Return 0, or the error number of Linux' `fallocate`; that of Python writes everywhere where Linux' cannot."""
    try:
        fallocate = ctypes.CDLL(None, use_errno=True).fallocate64
    except AttributeError:
        return errno.ENOSYS
    done = fallocate(descriptor, 0, ctypes.c_int64(0), ctypes.c_int64(size))
    return ctypes.get_errno() if done else 0
