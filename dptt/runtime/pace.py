"""When a reconstruction writes its next checkpoint: after so many epochs, or after so many seconds."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from dptt.config.distribution import CheckpointInterval
from dptt.distributed.comm import Communicator
from dptt.runtime.agreement import on_first_rank


class Pace:
    """The pace of checkpoints; by the clock of rank 0 if it is not in epochs.

    The first epoch of a process always has one: it shows early whether it can be written, and how long that takes.
    """

    def __init__(self, interval: CheckpointInterval) -> None:
        self._interval = interval
        self._saved_at: float | None = None
        self._writing = 0.0

    def is_due(self, epoch: int, communicator: Communicator) -> bool:
        """Return, on all ranks, whether to write a checkpoint after `epoch`."""
        if self._interval.epochs is not None:
            return self._saved_at is None or epoch % self._interval.epochs == 0
        return on_first_rank(communicator, self._is_time)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Note, in a ``with`` statement around it, that a checkpoint is written, and how long that takes."""
        started = time.monotonic()
        yield
        self._saved_at = time.monotonic()
        self._writing = self._saved_at - started

    def _is_time(self) -> bool:
        if self._saved_at is None:
            return True
        return time.monotonic() - self._saved_at >= self._interval.seconds_after(self._writing)
