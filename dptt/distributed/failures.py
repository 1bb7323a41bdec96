"""What ends a run because of its ranks; importable without torch."""


class PeerError(RuntimeError):
    """A message could not be exchanged: another rank has died, or the connection to it is lost."""


class FailureSaid(SystemExit):
    """Its cause has already been printed, by this rank or by another rank with the same failure."""


EXIT_CODE = 70
"""Exit code of a process that ends because another rank is dead, hangs or failed."""
