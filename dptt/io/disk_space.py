"""Space on the disk is reserved before a large file is written, so that HDF5 never meets a full disk or quota.

HDF5 cannot close a file whose metadata it failed to write: it prints long messages and keeps the file open. The space
is therefore requested from the system first, whose refusal is an OSError with the reason.
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from dptt.io.hdf5_writing import create_file

METADATA_BYTES = 2**20
"""More than the metadata of a file with several hundred tilts."""
TRIAL_BYTES = 64 * 2**20
"""Written as a test on file systems that cannot reserve space."""


@contextmanager
def create_with_space(path: Path, content_bytes: int) -> Iterator[h5py.File]:
    """Yield a new HDF5 file `path` for which there is enough space; when the block ends, its full size is reserved.

    Raises
    ------
    OSError
        There is not enough space for `content_bytes` of arrays and the metadata.
    """
    reserve_space(path, content_bytes + METADATA_BYTES)
    with create_file(path) as file:  # which gives the space back
        reserve_for(file, content_bytes)
        yield file
        file.flush()
        size = file.id.get_filesize()
    os.truncate(path, size)
    reserve_space(path, size)


def reserve_for(file: h5py.File, content_bytes: int) -> None:
    """Reserve space for `content_bytes` more in a file that is being written, and for its metadata.

    Raises
    ------
    OSError
        There is not enough space.
    """
    reserve_space(Path(file.filename), file.id.get_filesize() + content_bytes + METADATA_BYTES)


def reserve_space(path: Path, size: int) -> None:
    """Reserve `size` bytes on the disk for the file `path`.

    Raises
    ------
    OSError
        The disk is full, or a quota or another limit is reached.
    """
    with path.open("ab") as file:
        failure = _allocate(file.fileno(), size)
        if failure in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            missing = min(size, TRIAL_BYTES) - file.tell()
            file.write(bytes(max(missing, 0)))
            file.flush()
            os.fsync(file.fileno())  # network file systems report a full disk only now
        elif failure:
            raise OSError(failure, os.strerror(failure), str(path))


def _allocate(descriptor: int, size: int) -> int:
    """Return 0, or the error number of Linux's `fallocate`. Python's would write to every block if that failed."""
    try:
        fallocate = ctypes.CDLL(None, use_errno=True).fallocate64
    except AttributeError:
        return errno.ENOSYS
    done = fallocate(descriptor, 0, ctypes.c_int64(0), ctypes.c_int64(size))
    return ctypes.get_errno() if done else 0
