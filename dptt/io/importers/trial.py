"""Whether a foreign file can be read at all, tried in a process of its own.

Damage makes some libraries crash (SciPy: a size in a MATLAB file) or run for ever (HDF5: a text of variable length).
"""

import os
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from dptt.io.errors import ImportDescriptionError

PATIENCE = 60.0
"""[s] Time for which a file is tried; its patterns are not read."""
_sound: set[tuple[str, int, int]] = set()


def try_reading(path: Path, read: Callable[[], object]) -> None:
    """Let a child process `read` the file `path`, unless it has done so before.

    What `read` raises is of no interest here: this process will raise it again.

    Raises
    ------
    ImportDescriptionError
        The child crashed, or did not end in time.
    """
    state = path.stat()
    identity = (str(path.resolve()), state.st_size, state.st_mtime_ns)
    if identity in _sound or not hasattr(os, "fork"):
        return
    if problem := _problem(read):
        raise ImportDescriptionError(path, [f"is damaged ({problem}). Copy or write it again."])
    _sound.add(identity)


def _problem(read: Callable[[], object]) -> str:
    """Return how a child process that calls `read` failed to end; empty if it ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: no lock is needed in the child
        child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the stack of a crash is none of the user's business
            read()
        finally:
            os._exit(0)
    begun, pause = time.monotonic(), 1e-3
    while (status := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() - begun > PATIENCE:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return f"the library that reads it has not ended after {PATIENCE:g} s"
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    code = os.waitstatus_to_exitcode(status[1])
    return f"the library that reads it crashed: {signal.strsignal(-code)}" if code < 0 else ""
