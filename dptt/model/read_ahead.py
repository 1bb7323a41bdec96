"""Reading while computing: one piece of work is done by a thread before its result is asked for.

Nothing else happens in that thread, so what a run finds does not depend on who is faster; an error is raised where
the result is asked for.
"""

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Thread
from typing import Generic, TypeVar

Result = TypeVar("Result")


class ReadAhead(Generic[Result]):
    """One result at most that is being read, or was read and has not been asked for."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._future: Future[Result] | None = None

    def begin(self, key: Hashable, read: Callable[[], Result], at_once: bool = False) -> None:
        """Start `read`; what was begun before and not taken is forgotten when it has ended.

        With `at_once` it is done in this thread: it has nothing to wait for.
        """
        if self._future is not None:
            if key == self._key:
                return
            self._future.exception()  # waits: two at once would be twice the memory
        self._key, self._future = key, Future()
        if at_once:
            _fulfil(self._future, read)
            return
        # not a daemon: the interpreter must not end while HDF5 reads
        Thread(target=_fulfil, args=(self._future, read), name="read ahead").start()

    def take(self, key: Hashable) -> Result | None:
        """Return what was begun as `key`, waiting for it, or raise its error; None if something else was begun."""
        if self._future is None or key != self._key:
            return None
        future, self._key, self._future = self._future, None, None
        return future.result()

    def forget(self) -> None:
        """Wait for what was begun and not taken, and keep nothing of it: not its result, nor its error."""
        if self._future is not None:
            self._future.exception()
        self._key = self._future = None


def _fulfil(future: "Future[Result]", read: Callable[[], Result]) -> None:
    try:
        future.set_result(read())
    except BaseException as error:
        future.set_exception(error)
