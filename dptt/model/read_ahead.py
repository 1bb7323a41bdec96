"""Reading while computing: a thread does one piece of work before its result is needed.

Nothing else happens in that thread, so the results of a run do not depend on which thread is faster. An error is
raised where the result is taken.
"""

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Thread
from types import TracebackType
from typing import Generic, TypeVar

Result = TypeVar("Result")


class ReadAhead(Generic[Result]):
    """At most one result that is being read, or was read and not taken yet.

    The readers of all tilts share one, so a process is never more than one minibatch ahead. As a context it ends
    reading when the block is left: the file can then be closed.
    """

    def __init__(self) -> None:
        self._key: Hashable = None
        self._future: Future[Result] | None = None
        self._thread: Thread | None = None

    def __enter__(self) -> "ReadAhead[Result]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.discard()

    def begin(self, key: Hashable, read: Callable[[], Result], at_once: bool = False) -> None:
        """Start `read`. An earlier result that was not taken is discarded as soon as it is there.

        With `at_once`, `read` runs in this thread, because it does not wait for anything.
        """
        if self._future is not None:
            if key == self._key:
                return
            self.discard()  # waits: two at once would need twice the memory
        self._key, self._future = key, Future()
        if not at_once:
            # not a daemon: the interpreter must not end while HDF5 reads
            thread = Thread(target=_fulfil, args=(self._future, read), name="read ahead")
            try:
                thread.start()
            except RuntimeError:  # the system allows no further thread: read now instead
                at_once = True
            else:
                self._thread = thread
        if at_once:
            _fulfil(self._future, read)

    def take(self, key: Hashable) -> Result | None:
        """Wait for the result of what was begun as `key` and return it, or raise its error.

        Returns None if it was not begun.
        """
        if self._future is None or key != self._key:
            return None
        future = self._future
        self.discard()
        return future.result()

    def discard(self) -> None:
        """Wait until the thread has ended, so that it holds no patterns any more; drop its result or its error."""
        if self._thread is not None:
            self._thread.join()
        self._key = self._future = self._thread = None


def _fulfil(future: "Future[Result]", read: Callable[[], Result]) -> None:
    try:
        future.set_result(read())
    except BaseException as error:
        future.set_exception(error)
