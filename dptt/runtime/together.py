"""What all ranks do together with files: what fails on one rank fails on all, with one and the same message."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dptt.distributed.comm import Communicator
from dptt.distributed.failures import PeerError
from dptt.io.errors import ProblemsError, WriteError


@contextmanager
def together(communicator: Communicator, path: Path, error: type[ProblemsError] = WriteError) -> Iterator[None]:
    """Let every rank do its part of the work on the file `path`; all leave the block in the same way.

    Raises
    ------
    ProblemsError
        Of type `error`, on every rank, with the problems of all, if something failed on one.
    """
    failure: Exception | None = None
    try:
        yield
    except PeerError:
        raise  # there may be nobody left to tell
    except Exception as caught:
        failure = caught
    messages = communicator.gather_messages(json.dumps(_problems(failure)))
    problems = [problem for message in messages for problem in json.loads(message)]
    if failure and not isinstance(failure, (OSError, RuntimeError, ProblemsError)):
        raise failure  # a fault of the program: with its traceback
    if problems:
        raise error(path, list(dict.fromkeys(problems))) from failure


def _problems(failure: Exception | None) -> list[str]:
    if failure is None:
        return []
    if isinstance(failure, ProblemsError):
        return list(failure.problems)
    said = re.search(r"error message = '([^']*)'", str(failure))  # HDF5 wraps that of the system
    cause = said[1] if said else str(failure) or type(failure).__name__
    if isinstance(failure, OSError) and failure.errno:
        cause = os.strerror(failure.errno)
    return [
        f"cannot be written ({cause}). What was complete before is intact: make room there or make the folder "
        "writable; the same command resumes."
    ]
