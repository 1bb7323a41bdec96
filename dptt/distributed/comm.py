"""One communicator interface; the serial one makes one process the ordinary case."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor

from dptt.distributed.launch import Placement


@runtime_checkable
class Communicator(Protocol):
    """What an algorithm may ask of its peers; all ranks make the same calls in the same order."""

    rank: int
    size: int
    bytes_sent: int
    """Payload given to `sum_` and `exchange` so far, on this rank [bytes]."""

    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace a contiguous `tensor` by its sum over ranks, in place."""
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


class SerialCommunicator:
    """Rank 0 of 1."""

    rank = 0
    size = 1
    bytes_sent = 0

    def sum_(self, tensor: Tensor) -> Tensor:
        """Return `tensor` as it is."""
        return tensor

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


class TorchCommunicator:
    """Collectives over a torch.distributed process group (NCCL on GPUs, gloo on CPUs); the default one if None."""

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self._group = group
        self.rank = dist.get_rank(group)
        self.size = dist.get_world_size(group)
        self.bytes_sent = 0

    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace a contiguous `tensor` by its sum over ranks, in place."""
        if not tensor.is_contiguous():
            raise ValueError("sum_ works in place and needs a contiguous tensor, not a strided view")
        dist.all_reduce(torch.view_as_real(tensor) if tensor.is_complex() else tensor, group=self._group)
        self.bytes_sent += tensor.numel() * tensor.element_size()
        return tensor

    def exchange(self, outgoing: Mapping[int, Tensor], incoming: Mapping[int, Tensor]) -> None:
        """Send `outgoing[r]` to rank r and fill `incoming[r]` with what rank r sends."""
        messages = []
        for send, tensors in ((dist.isend, outgoing), (dist.irecv, incoming)):
            for peer, tensor in sorted(tensors.items()):
                if not tensor.is_contiguous():
                    raise ValueError("exchange needs contiguous tensors, not strided views")
                if tensor.numel():
                    plain = torch.view_as_real(tensor) if tensor.is_complex() else tensor
                    messages.append(dist.P2POp(send, plain, group=self._group, group_peer=peer))
        self.bytes_sent += sum(t.numel() * t.element_size() for t in outgoing.values())
        if messages:
            for pending in dist.batch_isend_irecv(messages):
                pending.wait()

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on at least one rank."""
        return bool(self.sum_(torch.tensor([int(flag)])).item())

    def maximum(self, value: float) -> float:
        """Return the largest `value` of all ranks."""
        largest = torch.tensor([value], dtype=torch.float64)
        dist.all_reduce(largest, op=dist.ReduceOp.MAX, group=self._group)
        return largest.item()

    def gather_messages(self, message: str) -> list[str]:
        """Return every rank's message, by rank."""
        messages: list[str] = [""] * self.size
        dist.all_gather_object(messages, message, group=self._group)
        return messages

    def split(self, colour: int) -> "Communicator":
        """Return the communicator of the ranks that gave the same `colour`."""
        colours = self.gather_messages(str(colour))
        alike = [rank for rank, other in enumerate(colours) if other == str(colour)]
        if len(alike) == 1:
            return SerialCommunicator()
        ranks = [dist.get_global_rank(self._group, rank) for rank in alike] if self._group else alike
        return TorchCommunicator(dist.new_group(ranks, use_local_synchronization=True))


@contextmanager
def open_communicator(placement: Placement, timeout: timedelta = timedelta(minutes=30)) -> Iterator[Communicator]:
    """Join the other ranks, if there are any, and leave them in order; `timeout` ends a wait for a dead rank."""
    if placement.size == 1:
        yield SerialCommunicator()
        return
    dist.init_process_group("gloo", rank=placement.rank, world_size=placement.size, timeout=timeout)
    try:
        yield TorchCommunicator()
    finally:
        dist.destroy_process_group()
