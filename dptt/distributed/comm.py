"""The interface of communicators, and the communicator of a single process."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Communicator(Protocol):
    """Messages between ranks; all ranks make the same calls in the same order."""

    rank: int
    size: int
    bytes_sent: int
    """Payload that this rank has passed to `sum_`, `begin_sum` and `exchange` so far [bytes]."""

    @property
    def seconds_communicating(self) -> float:
        """Time that this rank has waited for messages so far [s]."""
        ...

    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace a contiguous `tensor` by its sum over ranks, in place."""
        ...

    def begin_sum(self, tensor: Tensor) -> Callable[[], None]:
        """Begin `sum_` and return the function that completes it; do not touch `tensor` before that has returned.

        All ranks begin and complete their sums in the same order.
        """
        ...

    def exchange(self, outgoing: Mapping[int, Tensor], incoming: Mapping[int, Tensor]) -> None:
        """Send `outgoing[r]` to rank r and fill `incoming[r]` with what rank r sends; all contiguous.

        Peers must agree: what one sends, the other receives. Ranks without traffic need not be listed.
        """
        ...

    def any(self, flag: bool) -> bool:
        """Return, on all ranks, whether `flag` is true on at least one of them."""
        ...

    def maximum(self, value: float) -> float:
        """Return the maximum of `value` over all ranks."""
        ...

    def gather_messages(self, message: str) -> list[str]:
        """Return every rank's message, by rank, on every rank."""
        ...

    def split(self, colour: int) -> "Communicator":
        """Return the communicator of the ranks with the same `colour`, in the order of their ranks."""
        ...

    def working(self, what: str, alone: bool = False) -> AbstractContextManager[None]:
        """Name the work of this rank inside the block, for the message if it hangs there.

        With `alone` the block may take any time while the others wait; otherwise `distribution.patience`.
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
        """Do nothing: there is no other rank."""

    def any(self, flag: bool) -> bool:
        """Return `flag`."""
        return flag

    def maximum(self, value: float) -> float:
        """Return `value`."""
        return value

    def gather_messages(self, message: str) -> list[str]:
        """Return the message of this rank."""
        return [message]

    def split(self, colour: int) -> "SerialCommunicator":
        """Return another communicator of one rank."""
        return SerialCommunicator()

    def working(self, what: str, alone: bool = False) -> AbstractContextManager[None]:
        """Do nothing: no other rank waits."""
        return nullcontext()
