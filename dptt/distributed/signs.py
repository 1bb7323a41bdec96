"""The board where every rank posts its signs of life and reads those of the others.

A thread does both about once a second, over its own connection. No other thread uses the store, so a lost network
blocks this thread only; the others notice that `looked_at` no longer changes.
"""

import threading
import time
from collections.abc import Callable

from dptt.distributed.launch import JoinError
from dptt.distributed.rendezvous import Meeting
from dptt.distributed.verdict import Seen, Sign


class SignBoard:
    """Signs of all ranks.

    Parameters
    ----------
    meeting
        Where the ranks meet.
    patience
        How long to wait for the first signs of all ranks [s].
    sign_now
        Returns the present sign of this rank; called in the thread of the board.
    """

    def __init__(self, meeting: Meeting, patience: float, sign_now: Callable[[], Sign]) -> None:
        placement = meeting.placement
        self.period = max(1.0, placement.size / 64)
        """Time between two signs [s]; limits the load of the store to that of 64 ranks."""
        self._rank, self._sign_now, self._beat = placement.rank, sign_now, 0
        self._store = meeting.store_of_its_own()
        self._keys = [f"sign/{rank}" for rank in range(placement.size)]
        self.ranks = self._first_signs(patience)
        """The last signs of every rank, in order."""
        self.looked_at = time.monotonic()
        """When they were read last [s]."""
        self.verdict = b""
        """The verdict that some rank has claimed; it is the one to print it."""
        self._claim, self._claimed = "", threading.Event()
        self._closed, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep_posting, daemon=True, name="signs of life")
        self._thread.start()

    def wake(self) -> None:
        """Post and read now."""
        self._wake.set()

    def claim(self, reason: str) -> bool:
        """Return whether this rank is the one to print its verdict, which it also is if the store does not answer."""
        self._claim = f"{self._rank} {reason}"
        self._wake.set()
        self._claimed.wait(2 * self.period)
        return self.verdict in (b"", self._claim.encode())

    def wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Post and read until `condition` holds, but not longer than `seconds`."""
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            self._wake.set()
            time.sleep(0.05)

    def close(self) -> None:
        """Post a last time and stop."""
        self._closed.set()
        self._wake.set()
        self._thread.join(2 * self.period)

    def _first_signs(self, patience: float) -> list[Seen]:
        try:
            if self._rank == 0:
                self._store.set("verdict", "")
            self._store.set(self._keys[self._rank], self._sign_now().as_text())
            self._store.wait(self._keys)
            signs = [Sign.of_text(text) for text in self._store.multi_get(self._keys)]
        except RuntimeError as error:
            raise JoinError(
                f"rank {self._rank} got no sign of life from some of the {len(self._keys)} ranks within "
                f"{patience:.0f} s ({str(error).splitlines()[0]}). Check that all of them are still running"
            ) from None
        return [Seen(sign, time.monotonic(), time.monotonic()) for sign in signs]

    def _keep_posting(self) -> None:
        closed = False
        while not closed:
            closed = self._closed.is_set()  # post once more after this
            self._wake.clear()
            try:
                self._post_and_read()
            except RuntimeError:  # the connection is lost; `looked_at` no longer changes
                return
            self._wake.wait(self.period)

    def _post_and_read(self) -> None:
        self._beat += 1
        self._store.set(self._keys[self._rank], self._sign_now().as_text(self._beat))
        if self._claim and not self._claimed.is_set():
            self.verdict = self._store.compare_set("verdict", "", self._claim)
            self._claimed.set()
        *texts, found = self._store.multi_get([*self._keys, "verdict"])
        now = time.monotonic()
        for seen, text in zip(self.ranks, texts, strict=True):
            seen.update(Sign.of_text(text), now)
        self.verdict, self.looked_at = found, now
