"""The board where every rank posts its signs of life and reads those of the others.

A thread does both about once a second, over its own connection. No other thread uses the store, so a lost network
blocks this thread only; the others notice that `looked_at` no longer changes.
"""

import threading
import time
from collections.abc import Callable

from dptt.distributed.rendezvous import Meeting
from dptt.distributed.seal import ForgedError
from dptt.distributed.verdict import Seen, Sign


class SignBoard:
    """Signs of all ranks.

    Parameters
    ----------
    meeting
        Where the ranks meet.
    sign_now
        Returns the present sign of this rank; called in the thread of the board.
    """

    def __init__(self, meeting: Meeting, sign_now: Callable[[], Sign]) -> None:
        placement = meeting.placement
        self.period = max(1.0, placement.size / 64)
        """Time between two signs [s]; limits the load of the store to that of 64 ranks."""
        self._rank, self._sign_now, self._beat = placement.rank, sign_now, 0
        self._store = meeting.store_of_its_own()
        self._seal, self._start = meeting.seal, meeting.start
        self._keys = [f"sign/{rank}" for rank in range(placement.size)]
        now = time.monotonic()
        self.ranks = [Seen(Sign(m.rank, m.host, m.pid), now, now) for m in meeting.members]
        """The last signs of every rank, in order."""
        self.looked_at = now
        """When they were read last [s]."""
        self.verdict = ""
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
        return self.verdict in ("", self._claim)

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
        key = self._keys[self._rank]
        self._store.set(key, self._seal.close(f"{self._start}/{key}", self._sign_now().as_text(self._beat)))
        if self._claim and not self._claimed.is_set():
            self.verdict = self._opened("verdict", self._store.compare_set("verdict", "", self._closed_claim()))
            self._claimed.set()
        *signs, found = self._store.multi_get([*self._keys, "verdict"])
        now = time.monotonic()
        for seen, key, message in zip(self.ranks, self._keys, signs, strict=True):
            if text := self._opened(key, message):
                seen.update(Sign.of_text(text), now)
        self.verdict, self.looked_at = self._opened("verdict", found), now

    def _closed_claim(self) -> str:
        return self._seal.close(f"{self._start}/verdict", self._claim)

    def _opened(self, key: str, message: bytes) -> str:
        """Return the text of a message; empty if there is none, or if another program wrote it."""
        try:
            return self._seal.open(f"{self._start}/{key}", message)
        except ForgedError:
            return ""
