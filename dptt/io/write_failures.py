"""A full disk, a quota or a read-only folder as one clear error, whoever meets it: Python, NumPy, HDF5 or MPI."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dptt.io.errors import WriteError


@contextmanager
def write_failures_reported(path: Path) -> Iterator[None]:
    """Let the block write the file `path`; what the system says against it becomes a WriteError.

    Raises
    ------
    WriteError
        The disk is full, a limit is reached, or the folder is read-only.
    """
    try:
        yield
    except FileExistsError:
        raise
    except (OSError, RuntimeError) as failure:
        if isinstance(failure, RuntimeError) and _system_message(failure) is None:
            raise  # not of the file: for example, of a GPU without memory
        raise WriteError(path, [write_problem(failure)]) from failure


def write_problem(failure: Exception) -> str:
    """Return what is wrong, and the cure, as a problem of a WriteError."""
    cause = _system_message(failure) or str(failure) or type(failure).__name__
    if isinstance(failure, OSError) and failure.errno:
        cause = os.strerror(failure.errno)
    return (
        f"cannot be written ({cause}). Files that were complete are intact. Free some space or make the folder "
        "writable, then run the same command to resume."
    )


def _system_message(failure: Exception) -> str | None:
    """Return the message of the system that HDF5 wraps."""
    message = re.search(r"error message = '([^']*)'", str(failure))
    return message and message[1]
