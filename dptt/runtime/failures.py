"""What a command says and returns when an exception ends it.

2       bad input: nothing was begun
1       a run that failed
70      another rank died or hangs
130     Ctrl-C, twice
"""

import traceback

from dptt.config import ConfigError
from dptt.distributed.failures import EXIT_CODE, PeerError
from dptt.distributed.launch import LaunchError
from dptt.io.errors import ProblemsError, WriteError


def is_expected(error: BaseException) -> bool:
    """Return whether `error` says all that its reader needs; others are faults of the program."""
    by_name = type(error).__name__ == "NonFiniteLossError"  # importing the solver would import torch
    known = (ConfigError, ProblemsError, LaunchError, FileExistsError, PeerError, KeyboardInterrupt)
    return by_name or isinstance(error, known)


def exit_code(error: BaseException | None) -> int:
    """Return the exit code for `error`."""
    match error:
        case WriteError():
            return 1
        case ConfigError() | ProblemsError() | LaunchError() | FileExistsError():
            return 2
        case PeerError():
            return EXIT_CODE
        case KeyboardInterrupt():
            return 130
    return 1


def explain(error: BaseException, only: str = "") -> str:
    """Return what is printed for `error`: with its traceback, if it is a fault of the program.

    Parameters
    ----------
    only
        Name of the only rank that has it; empty if all have.
    """
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; the same command resumes from the last complete epoch"
    who = f"{only}: " if only else ""
    if is_expected(error):
        return f"error: {who}{error}"
    return "".join(traceback.format_exception(error)) + f"error: {who}{type(error).__name__}: {error}"
