"""What ends a run because of its ranks, told apart without torch."""


class PeerError(RuntimeError):
    """A message could not be exchanged: another rank has gone, or the connection to it."""


class FailureSaid(SystemExit):
    """The exception that is its cause has been printed, on this rank or on another that has the same."""


EXIT_CODE = 70
"""Of a process that a dead, hanging or failed rank ended."""
