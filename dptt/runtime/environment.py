"""Variables of the environment that have to be set before libraries are imported."""

import io
import os
import sys
from pathlib import Path


def prepare_environment() -> None:
    """Prepare the environment of a command: that of libraries, and its standard output."""
    prepare_libraries()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal whose locale lacks Å shows \xc5, as standard error does
        sys.stdout.reconfigure(errors="backslashreplace")


def prepare_libraries() -> None:
    """Set what torch and others read from the environment when they are imported; values of the user stay."""
    # Threads of OpenMP that wait leave their core to the compiled kernels after a fraction of a millisecond.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    _provide_home()


def hide_stacks_of_torch() -> None:
    """Keep the C++ stacks of torch out of the message about a rank that died; the watch says which rank it was."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def _provide_home() -> None:
    """Set a home that does not exist for a user without one, as in a container that runs under an arbitrary user id.

    Some libraries cannot be imported without a home. In this one they find no settings and keep no cache.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/nonexistent"
