"""One communicator interface; the serial one makes one process the ordinary case."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Communicator(Protocol):
    """What an algorithm may ask of its peers; all ranks make the same calls in the same order."""

    rank: int
    size: int
    bytes_sent: int
    """Payload given to `sum_`, `begin_sum` and `exchange` so far, on this rank [bytes]."""

    @property
    def seconds_communicating(self) -> float:
        """Time that this rank has waited for messages so far [s]."""
        ...

    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace a contiguous `tensor` by its sum over ranks, in place."""
        ...

    def begin_sum(self, tensor: Tensor) -> Callable[[], None]:
        """Begin `sum_` and return what ends it: until that was called, `tensor` must be left alone.

        The ranks begin, and end, their sums in the same order.
        """
        ...

    def exchange(self, outgoing: Mapping[int, Tensor], incoming: Mapping[int, Tensor]) -> None:
        """Send `outgoing[r]` to rank r and fill `incoming[r]` with what rank r sends; all contiguous.

        Every rank must name here what its peers name there; ranks without traffic need not be mentioned.
        """
        ...

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on at least one rank; the same answer on all."""
        ...

    def maximum(self, value: float) -> float:
        """Return the largest `value` of all ranks."""
        ...

    def gather_messages(self, message: str) -> list[str]:
        """Return every rank's message, by rank, on every rank."""
        ...

    def split(self, colour: int) -> "Communicator":
        """Return the communicator of the ranks that gave the same `colour`, in the order of their ranks."""
        ...

    def working(self, what: str, alone: bool = False) -> AbstractContextManager[None]:
        """Say what this rank does inside the block, in case that it hangs there.

        With `alone` it may take as long as it likes while the others wait; else `distribution.patience`.
        """
        ...


class SerialCommunicator:
    """Rank 0 of 1."""

    rank = 0
    size = 1
    bytes_sent = 0
    seconds_communicating = 0.0

    def sum_(self, tensor: Tensor) -> Tensor:
        """Return `tensor` as it is."""
        return tensor

    def begin_sum(self, tensor: Tensor) -> Callable[[], None]:
        """Leave `tensor` as it is."""
        return lambda: None

    def exchange(self, outgoing: Mapping[int, Tensor], incoming: Mapping[int, Tensor]) -> None:
        """Do nothing: there is nobody else."""

    def any(self, flag: bool) -> bool:
        """Return `flag`."""
        return flag

    def maximum(self, value: float) -> float:
        """Return `value`."""
        return value

    def gather_messages(self, message: str) -> list[str]:
        """Return the one message."""
        return [message]

    def split(self, colour: int) -> "SerialCommunicator":
        """Return another communicator of one rank."""
        return SerialCommunicator()

    def working(self, what: str, alone: bool = False) -> AbstractContextManager[None]:
        """Do nothing: nobody waits."""
        return nullcontext()
