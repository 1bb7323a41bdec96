"""Message and exit code of a command that an exception ends.

1       the run failed; there was not enough memory, or space on the disk
2       bad input: files, configurations, and numbers in them that overflow whatever the computer
70      another rank died or hangs
130     interrupted by Ctrl-C
"""

import traceback

from dptt.config import ConfigError
from dptt.distributed.failures import EXIT_CODE, PeerError
from dptt.distributed.launch import LaunchError
from dptt.io.errors import ProblemsError, WriteError

BAD_INPUT = 2
"""Exit code of a command that is refused."""

OVERFLOWS = (
    "array is too big",
    "Maximum allowed dimension exceeded",
    "Maximum allowed size exceeded",
    "lam value too large",
    "Storage size calculation overflowed",
    "Overflow when unpacking long",
    "possible overflow",
)
"""What NumPy and PyTorch say, who have no type of error for it."""


def is_expected(error: BaseException) -> bool:
    """Return whether the message of `error` is all that a user needs; other errors are faults of the program."""
    # by name: importing these imports torch
    by_name = type(error).__name__ in ("NonFiniteLossError", "DivergedError", "AtomFitError", "UnsafeCacheError")
    known = (ConfigError, ProblemsError, LaunchError, FileExistsError, PeerError, KeyboardInterrupt)
    return by_name or isinstance(error, known) or _is_lack_of_memory(error) or _overflows(error)


def exit_code(error: BaseException | None) -> int:
    """Return the exit code for `error`."""
    match error:
        case WriteError():
            return 1
        case ConfigError() | ProblemsError() | LaunchError() | FileExistsError():
            return BAD_INPUT
        case PeerError():
            return EXIT_CODE
        case KeyboardInterrupt():
            return 130
    return BAD_INPUT if type(error).__name__ == "UnsafeCacheError" or _overflows(error) else 1


def explain(error: BaseException, only: str = "") -> str:
    """Return the message to print for `error`, with a traceback if it is a fault of the program.

    Parameters
    ----------
    only
        Name of the only rank that has the error; empty if all ranks have it.
    """
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; run the same command to resume from the last complete epoch"
    who = f"{only}: " if only else ""
    if _is_lack_of_memory(error):
        return (
            f"error: {who}there is not enough memory ({error}). Make the volume smaller, set data_memory lower, or "
            "share the volume over more ranks (distribution.slabs); `dptt plan` says what every rank needs."
        )
    if _overflows(error):
        return (
            f"error: {who}a number of the configuration or the series is out of all range ({error}). Compare the "
            "lengths [Å], angles and energies with their units; `dptt validate` names what no microscope has."
        )
    if is_expected(error):
        return f"error: {who}{error}"
    return "".join(traceback.format_exception(error)) + f"error: {who}{type(error).__name__}: {error}"


def _is_lack_of_memory(error: BaseException) -> bool:
    """Return whether NumPy or PyTorch could not allocate an array; PyTorch has no type of its own for the host."""
    signs = ("can't allocate memory", "out of memory", "bad_alloc")
    of_torch = isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)
    return of_torch or isinstance(error, MemoryError)


def _overflows(error: BaseException | None) -> bool:
    """Return whether a number, or the size of an array, is beyond what 64 bits hold."""
    told = isinstance(error, ValueError | TypeError | RuntimeError) and any(sign in str(error) for sign in OVERFLOWS)
    return isinstance(error, OverflowError) or told
