"""End a run early with everything complete: on a signal, or before a time limit that the next epoch would exceed.

A batch system announces the end of a job with SIGUSR1 or SIGTERM; Ctrl-C is SIGINT. A signal is only noted. The work
checks `Stop` wherever it is complete: after an epoch, a tilt or a step. All ranks take the same decision there, so
that none waits for a rank that has ended. The process ends with `EXIT_CODE`, which tells the job script to start the
same command again.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from dptt.logs import log

if TYPE_CHECKING:
    from dptt.distributed.comm import Communicator

EXIT_CODE = 85
SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)


class StoppedCleanly(Exception):
    """The run ended early; everything that it has done is complete on disk."""


class Stop:
    """Whether the run should end early, and why.

    Parameters
    ----------
    time_limit
        Minutes after `began` by which the run must end; None for no limit.
    began
        When the process began, on the clock of `time.monotonic` [s].
    """

    def __init__(self, time_limit: float | None = None, began: float | None = None) -> None:
        now = time.monotonic()
        self._end = None if time_limit is None else (now if began is None else began) + 60 * time_limit
        self._limit = time_limit
        self._signal: str | None = None
        self._since, self._longest = now, 0.0
        self.exit_code = 0

    def begin_piece(self) -> None:
        """Start the clock of a piece of work: an epoch or a tilt. The next may take as long as the longest so far."""
        self._since = time.monotonic()

    def end_piece(self) -> None:
        """Stop the clock of the piece of work: it is complete."""
        self._longest = max(self._longest, time.monotonic() - self._since)

    def agree(self, communicator: "Communicator", reason: str, done: str) -> None:
        """End the run on all ranks if any of them has a `reason`; the log says that it stopped after `done`.

        Raises
        ------
        StoppedCleanly
            On every rank.
        """
        reasons = [other for other in communicator.gather_messages(reason) if other]
        if reasons:
            log.info(
                f"stopped after {done}: {reasons[0]}. Everything so far is saved; run the same command to continue"
            )
            raise StoppedCleanly

    def reason(self) -> str:
        """Return why this rank should not start another piece of work; empty if it may."""
        if self._signal:
            return self._signal
        left = float("inf") if self._end is None else self._end - time.monotonic()
        if left >= self._longest:
            return ""
        return (
            f"{max(left, 0.0) / 60:.2g} min are left of the distribution.time_limit of {self._limit:g} min, "
            f"less than the {self._longest / 60:.2g} min that the longest piece of work took"
        )

    def note(self, number: int, frame: FrameType | None) -> None:
        """Note a signal; a second Ctrl-C interrupts at once."""
        self._signal = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.write(2, b"\nstopping once the current work is complete; press Ctrl-C again to interrupt it\n")


@contextmanager
def clean_stop(time_limit: float | None, began: float, listen: bool = True) -> Iterator[Stop]:
    """Yield a `Stop` for the work inside the block, which signals reach if `listen` is true.

    `StoppedCleanly` ends the block silently; `Stop.exit_code` is then `EXIT_CODE`.
    """
    stop = Stop(time_limit, began)
    listen = listen and threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, stop.note) for number in SIGNALS} if listen else {}
    for number in before:
        signal.siginterrupt(number, False)  # reads and writes continue, also in libraries that do not retry
    try:
        yield stop
    except StoppedCleanly:
        stop.exit_code = EXIT_CODE
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
