"""A dead or hanging rank ends all ranks, within a fixed time, with one message that names it.

Every rank has two threads besides its main thread. One posts signs of life and reads those of the others (`signs`); a
lost network may block it. The other judges what was read last (`verdict`); nothing can block it. The first rank to
claim a verdict prints it, and all ranks end with `EXIT_CODE`, whatever their main threads wait for.

    event                                                        ends all ranks within
    a rank, its host or the connection to it died                patience / 10, at least 5 s; 5 s if a message failed
    a rank keeps the others waiting                              patience
    a rank raised an exception that the others did not raise     5 s
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType

from dptt.distributed.failures import EXIT_CODE, PeerError, say
from dptt.distributed.rendezvous import Meeting
from dptt.distributed.signs import SignBoard
from dptt.distributed.verdict import (
    ALONE,
    ENDED,
    FAILED,
    GONE,
    LEFT,
    LOST,
    WAITS,
    WORKS,
    Limits,
    Sign,
    lost_store,
    verdict,
)

TICK = 0.25
"""Time between two judgements [s]."""
SAME_FAILURE = 3.0
"""Time that a rank with an exception waits for the others to raise the same [s]."""
MAX_REASON = 500
"""Maximum number of characters of a reason that are posted."""
PACKAGE = str(Path(__file__).parents[1])


class Watch:
    """The watch of one rank over all ranks.

    Parameters
    ----------
    meeting
        Where the ranks meet.
    patience
        Time without progress after which a rank that keeps others waiting ends the run [s].
    """

    def __init__(self, meeting: Meeting, patience: float) -> None:
        self._meeting, self._patience = meeting, patience
        self._rank, self._host, self._main = meeting.placement.rank, socket.gethostname(), threading.get_ident()
        self._state, self._moves, self._said = WORKS, 0, ""
        self._waiting = _Waiting(self)
        self._board = SignBoard(meeting, self._sign)
        self._limits = Limits.of(patience, self._board.period)
        self._over = threading.Event()
        threading.Thread(target=self._keep_judging, daemon=True, name="judge of ranks").start()

    # Called by the main thread.

    def waiting(self) -> "_Waiting":
        """Return the block in which this rank waits for others; if a connection breaks, it waits for the verdict."""
        return self._waiting

    @contextmanager
    def working(self, what: str, alone: bool = False) -> Iterator[None]:
        """Name the work of this rank inside the block; with `alone` it may take any time."""
        before = self._state, self._said
        self._state, self._said = ALONE if alone else self._state, what
        self._moves += 1
        try:
            yield
        finally:
            self._state, self._said = before

    def begin_message(self) -> str:
        """Note that a message begins; return the previous state."""
        before, self._state = self._state, WAITS
        self._moves += 1
        return before

    def end_message(self, before: str) -> None:
        """Note that a message has ended."""
        self._state = before

    def await_verdict(self, error: BaseException) -> None:
        """Wait for the verdict on a broken connection, which ends this process."""
        self._state, self._said = LOST, str(error).splitlines()[0]
        self._board.wake()
        self._over.wait(self._limits.suspected_after + 10 * self._board.period)
        raise PeerError(f"a message to other ranks failed: {error}") from error

    def leave(self) -> None:
        """Leave in order; a rank that keeps the store stays until all have left."""
        self._state = LEFT
        self._linger(self._patience)
        self._close()

    def leave_failed(self, reason: str, explain: Callable[[str], str]) -> None:
        """Leave because of an exception; the first rank with the same `reason` prints `explain(name)`.

        The name is that of this rank, or empty if all ranks leave for the same reason.
        """
        self._state, self._said = FAILED, reason[:MAX_REASON]
        self._board.wait_until(lambda: self._others_are((*GONE, LOST)), SAME_FAILURE)
        ranks = self._board.ranks
        same = [r.sign.rank for r in ranks if r.sign.state == FAILED and r.sign.doing == self._said]
        if self._rank == min(same, default=self._rank):
            self._board.claim(f"{self._sign().name} failed: {reason}")
            say(explain("" if len(same) == len(ranks) else self._sign().name))
        self._linger(3 * self._board.period)
        self._close()

    # Called by the thread that judges; nothing blocks it.

    def _keep_judging(self) -> None:
        looked_at, silent = 0.0, 0.0
        while not self._over.wait(TICK):
            # in ticks, not from the clock: a process that was suspended must not count that time as silence
            silent = silent + TICK if self._board.looked_at == looked_at else 0.0
            looked_at = self._board.looked_at
            if self._state in GONE:
                continue
            if self._board.verdict:
                self._end("")
            reason = verdict(self._board.ranks, self._rank, looked_at, self._limits)
            if reason:
                self._end(reason if self._board.claim(reason) else "")
            silence = self._limits.silence([self._state])
            if silent > silence + self._board.period:
                self._end_in_silence(silence)

    def _end_in_silence(self, silence: float) -> None:
        """End without the store: the first rank on every host prints why."""
        keeper = None if self._meeting.placement.launcher_store else self._board.ranks[0].sign
        if keeper and keeper.state == LEFT:
            self._over.set()  # it ended in order, and this rank waits for no one
        elif keeper and keeper.state in GONE:
            self._end("")  # it has printed why
        else:
            on_host = [r.sign for r in self._board.ranks if r.sign.host == self._host and r.sign is not keeper]
            host = keeper.host if keeper else self._meeting.host
            first = self._rank == min((sign.rank for sign in on_host), default=self._rank)
            self._end(lost_store(keeper, host, silence) if first else "")

    def _end(self, reason: str) -> None:
        """Print `reason` unless it is empty, and end this process; the rank that keeps the store ends last."""
        say(f"error: {reason}" if reason else "")
        self._state = ENDED
        self._linger(3 * self._board.period)
        os._exit(EXIT_CODE)

    # Called by both.

    def _sign(self) -> Sign:
        """Return what this rank posts about itself."""
        doing = self._said or _where(self._main)
        return Sign(self._rank, self._host, os.getpid(), self._state, self._moves, doing)

    def _linger(self, seconds: float) -> None:
        """Stay until the others can know how this rank ended, and until they have ended if it keeps the store."""
        if self._meeting.keeps_store:
            self._board.wait_until(lambda: self._others_are(GONE), seconds)
        else:
            own = self._board.ranks[self._rank]
            self._board.wait_until(lambda: own.sign.state == self._state, 2 * self._board.period)

    def _others_are(self, states: tuple[str, ...]) -> bool:
        """Return whether every other rank is in one of `states` or silent."""
        last = self._board.looked_at - self._limits.suspected_after
        return all(
            r.sign.state in states or r.alive_at < last for r in self._board.ranks if r.sign.rank != self._rank
        )

    def _close(self) -> None:
        self._over.set()
        self._board.close()


class Watched:
    """A communicator that times its waiting, and whose waiting and working a watch may see."""

    def __init__(self, watch: Watch | None) -> None:
        self._watch = watch
        self._timed = _Timed(watch.waiting() if watch else nullcontext())

    @property
    def seconds_communicating(self) -> float:
        """Time that this rank has waited for messages so far [s]."""
        return self._timed.seconds

    def working(self, what: str, alone: bool = False) -> AbstractContextManager[None]:
        """Name the work of this rank inside the block."""
        return self._watch.working(what, alone) if self._watch else nullcontext()

    def _waiting(self) -> AbstractContextManager[None]:
        return self._timed


class _Timed:
    """A block whose time is added up; entered some thousand times a second, so without a generator."""

    def __init__(self, block: AbstractContextManager[None]) -> None:
        self._block, self._start, self.seconds = block, 0.0, 0.0

    def __enter__(self) -> None:
        self._start = time.perf_counter()
        self._block.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        try:
            self._block.__exit__(kind, error, at)
        finally:
            self.seconds += time.perf_counter() - self._start


class _Waiting:
    """A block in which a rank waits; entered thousands of times a second, so it is no generator."""

    def __init__(self, watch: Watch) -> None:
        self._watch, self._before = watch, WORKS

    def __enter__(self) -> None:
        self._before = self._watch.begin_message()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if isinstance(error, RuntimeError):  # gloo, NCCL and MPI raise nothing else
            self._watch.await_verdict(error)
        self._watch.end_message(self._before)


def _where(thread: int) -> str:
    """Return where a thread is: the innermost function of this package outside dptt/distributed."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(PACKAGE) and not file.startswith(os.path.join(PACKAGE, "distributed")):
            return f"in {frame.f_code.co_name} (dptt{file[len(PACKAGE) :]}:{frame.f_lineno})"
        frame = frame.f_back
    return "outside dptt"
