"""What ends a run because of its ranks; importable without torch."""

import os


class PeerError(RuntimeError):
    """A message could not be exchanged: another rank has died, or the connection to it is lost."""


class FailureSaid(SystemExit):
    """Its cause has already been printed, by this rank or by another rank with the same failure."""


EXIT_CODE = 70
"""Exit code of a process that ends because another rank is dead, hangs or failed."""


def say(text: str) -> None:
    """Write a message, unless it is empty, to standard error at once, so that those of several ranks do not mix."""
    if text:
        os.write(2, (text.rstrip("\n") + "\n").encode(errors="backslashreplace"))
