"""End a run early with everything complete: on a signal, or before a time limit that the next epoch would exceed.

A batch system announces the end of a job with SIGUSR1 or SIGTERM; Ctrl-C is SIGINT. A signal is only noted, from the
beginning of the process to its end. The work checks `Stop` wherever it is complete: before the first epoch, after an
epoch, a tilt or a step, and at the end. All ranks take the same decision there, so
that none waits for a rank that has ended. The process ends with `EXIT_CODE`, which tells the job script to start the
same command again.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

from dptt.logs import log

if TYPE_CHECKING:
    from dptt.distributed.comm import Communicator

EXIT_CODE = 85
SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)


class StoppedCleanly(Exception):
    """The run ended early; everything that it has done is complete on disk."""


class Signals:
    """The last signal to end; None if there was none."""

    def __init__(self) -> None:
        self.noted: str | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Note a signal; a second Ctrl-C interrupts at once."""
        self.noted = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.write(2, b"\nstopping once the current work is complete; press Ctrl-C again to interrupt it\n")


def _interrupt_again(hook: Callable[[Any], object], unraisable: Any) -> None:
    """Send Ctrl-C again where Python has dropped its exception, as it does in callbacks of weak references."""
    if unraisable.exc_type is not KeyboardInterrupt:
        hook(unraisable)
        return
    again = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))  # later, or it would be dropped here too
    again.daemon = True
    again.start()


@contextmanager
def listening(listen: bool = True) -> Iterator[Signals]:
    """Note signals to end inside the block, if `listen` is true; otherwise they end the process as usual."""
    signals = Signals()
    listen = listen and threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, signals.note) for number in SIGNALS} if listen else {}
    for number in before:
        signal.siginterrupt(number, False)  # reads and writes continue, also in libraries that do not retry
    hook = sys.unraisablehook
    if listen:
        sys.unraisablehook = partial(_interrupt_again, hook)
    try:
        yield signals
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


class Stop:
    """Whether the run should end early, and why.

    Parameters
    ----------
    time_limit
        Minutes after `began` by which the run must end; None for no limit.
    began
        When the process began, on the clock of `time.monotonic` [s].
    signals
        The signals to this process.
    """

    def __init__(
        self, time_limit: float | None = None, began: float | None = None, signals: Signals | None = None
    ) -> None:
        now = time.monotonic()
        self._end = None if time_limit is None else (now if began is None else began) + 60 * time_limit
        self._limit = time_limit
        self._signals = signals or Signals()
        self._since, self._longest, self._longest_closing = now, 0.0, 0.0
        self.exit_code = 0

    def begin_piece(self) -> None:
        """Start the clock of a piece of work: an epoch or a tilt. The next may take as long as the longest so far."""
        self._since = time.monotonic()

    def end_piece(self) -> None:
        """Stop the clock of the piece of work: it is complete."""
        self._longest = max(self._longest, time.monotonic() - self._since)

    def end_closing_piece(self) -> None:
        """Stop the clock of work that must follow the last piece: it is complete."""
        self._longest_closing = max(self._longest_closing, time.monotonic() - self._since)

    def agree(self, communicator: "Communicator", reason: str, done: str) -> None:
        """End the run on all ranks if any of them has a `reason`; the log says that it stopped after `done`.

        Raises
        ------
        StoppedCleanly
            On every rank.
        """
        self.end(first_reason(communicator, reason), done)

    def end(self, reason: str, done: str) -> None:
        """End the run if there is a `reason`, the same on all ranks; raise StoppedCleanly as `agree`."""
        if reason:
            log.info(f"stopped after {done}: {reason}. Everything so far is saved; run the same command to continue")
            raise StoppedCleanly

    @property
    def signal(self) -> str:
        """Name of the signal to end that this rank has received; empty if there was none."""
        return self._signals.noted or ""

    def reason(self) -> str:
        """Return why this rank should not start another piece of work; empty if it may."""
        if self.signal:
            return self.signal
        left = float("inf") if self._end is None else self._end - time.monotonic()
        if left <= 0:
            return f"the distribution.time_limit of {self._limit:g} min is over"
        longest = self._longest + self._longest_closing
        if left >= longest:
            return ""
        return (
            f"{left / 60:.2g} min are left of the distribution.time_limit of {self._limit:g} min, "
            f"less than the {longest / 60:.2g} min that the longest piece of work took"
        )


def first_reason(communicator: "Communicator", reason: str) -> str:
    """Return, on all ranks, the `reason` of the first rank that has one; empty if none has."""
    return next(filter(None, communicator.gather_messages(reason)), "")


@contextmanager
def clean_stop(time_limit: float | None, began: float, signals: Signals | None = None) -> Iterator[Stop]:
    """Yield a `Stop` for the work inside the block.

    `StoppedCleanly` ends the block silently; `Stop.exit_code` is then `EXIT_CODE`.
    """
    stop = Stop(time_limit, began, signals)
    try:
        yield stop
    except StoppedCleanly:
        stop.exit_code = EXIT_CODE
