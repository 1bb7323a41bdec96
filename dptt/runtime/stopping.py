"""Ending a run early with everything complete: on a signal, or before a time limit that the next epoch would pass.

A batch system announces the end with SIGUSR1 or SIGTERM; Ctrl-C is SIGINT. A signal is only noted. The work looks at
`Stop` where it is complete (after an epoch, a tilt, a step), and there all ranks decide alike, so that none waits for
one that has gone. The process ends with `EXIT_CODE`, which tells the job script to start the same command again.
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
    """The run ended before its work was done, with everything so far complete on the disk."""


class Stop:
    """Whether to end, and why.

    Parameters
    ----------
    time_limit
        Minutes after `began` when the run must have ended; None for no limit.
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
        """Say that a piece of work begins: an epoch, a tilt. The longest so far is what the next may take."""
        self._since = time.monotonic()

    def end_piece(self) -> None:
        """Say that it is complete."""
        self._longest = max(self._longest, time.monotonic() - self._since)

    def agree(self, communicator: "Communicator", reason: str, done: str) -> None:
        """End the run here, on all ranks, if one of them has a `reason`; `done` says for the log what is complete.

        Raises
        ------
        StoppedCleanly
            On every rank.
        """
        reasons = [other for other in communicator.gather_messages(reason) if other]
        if reasons:
            log.info(f"stopped after {done}: {reasons[0]}; what is done is kept, the same command goes on")
            raise StoppedCleanly

    def reason(self) -> str:
        """Return why this rank should begin no other piece of work; nothing if it may."""
        if self._signal:
            return self._signal
        left = float("inf") if self._end is None else self._end - time.monotonic()
        if left >= self._longest:
            return ""
        return (
            f"of the {self._limit:g} min of distribution.time_limit {max(left, 0.0) / 60:.2g} min are left, "
            f"less than the {self._longest / 60:.2g} min that this took at most"
        )

    def note(self, number: int, frame: FrameType | None) -> None:
        """Note a signal; a second Ctrl-C interrupts at once."""
        self._signal = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.write(2, b"\nends when the work in hand is complete; Ctrl-C again interrupts it\n")


@contextmanager
def clean_stop(time_limit: float | None, began: float, listen: bool = True) -> Iterator[Stop]:
    """Yield what the work inside asks whether to end; `listen` to signals meanwhile.

    `StoppedCleanly` ends here: afterwards `Stop.exit_code` says whether it was raised.
    """
    stop = Stop(time_limit, began)
    listen = listen and threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, stop.note) for number in SIGNALS} if listen else {}
    for number in before:
        signal.siginterrupt(number, False)  # reads and writes go on, also in libraries that do not try again
    try:
        yield stop
    except StoppedCleanly:
        stop.exit_code = EXIT_CODE
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
