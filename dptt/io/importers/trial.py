"""Whether a foreign file can be read at all, tried in a process of its own.

Damage makes some libraries crash (SciPy: a size in a MATLAB file) or run for ever (HDF5: a text of variable length).
"""

import os
import select
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from dptt.io.errors import ImportDescriptionError

PATIENCE = 60.0
"""[s] Time for which a file is tried, from its last sign of life."""
_sound: set[tuple[str, str, int, int]] = set()


def try_reading(path: Path, read: Callable[[], object], *, purpose: str = "patterns") -> None:
    """Let a child process `read` the file `path`, unless it has done so before for the same `purpose`.

    What `read` raises is of no interest here: this process will raise it again. If it returns an iterator, each item
    is a sign of life.

    Raises
    ------
    ImportDescriptionError
        The child crashed, or did not end in time.
    """
    state = path.stat()
    identity = (purpose, str(path.resolve()), state.st_size, state.st_mtime_ns)
    if identity in _sound or not hasattr(os, "fork"):
        return
    if problem := _problem(read):
        raise ImportDescriptionError(path, [f"is damaged ({problem}). Copy or write it again."])
    _sound.add(identity)


def _problem(read: Callable[[], object]) -> str:
    """Return how a child process that calls `read` failed to end; empty if it ended."""
    life, sign = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: no lock is needed in the child
        child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the stack of a crash is none of the user's business
            steps = read()
            for _ in steps if isinstance(steps, Iterator) else ():
                os.write(sign, b".")
        finally:
            os._exit(0)
    os.close(sign)  # so that the pipe ends with the child
    signs = select.poll()
    signs.register(life, select.POLLIN)
    try:
        while ended := bool(signs.poll(1e3 * PATIENCE)):
            if not os.read(life, 2**16):
                break
    finally:
        os.close(life)
    if not ended:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not ended:
        return f"the library that reads it has not ended after {PATIENCE:g} s"
    return f"the library that reads it crashed: {signal.strsignal(-code)}" if code < 0 else ""
