"""One communicator interface; the serial one makes one process the ordinary case."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor

from dptt.distributed.launch import Placement


@runtime_checkable
class Communicator(Protocol):
    """What a solver may ask of its peers; sums are over all ranks, in the same order everywhere."""

    rank: int
    size: int
    bytes_summed: int
    """Payload given to `sum_` so far, on this rank [bytes]."""

    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace a contiguous `tensor` by its sum over ranks, in place."""
        ...

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on at least one rank; the same answer on all."""
        ...

    def gather_messages(self, message: str) -> list[str]:
        """Return every rank's message, by rank, on every rank."""
        ...


class SerialCommunicator:
    """Rank 0 of 1."""

    rank = 0
    size = 1
    bytes_summed = 0

    def sum_(self, tensor: Tensor) -> Tensor:
        """Return `tensor` as it is."""
        return tensor

    def any(self, flag: bool) -> bool:
        """Return `flag`."""
        return flag

    def gather_messages(self, message: str) -> list[str]:
        """Return the one message."""
        return [message]


class TorchCommunicator:
    """Collectives over the default torch.distributed process group (NCCL on GPUs, gloo on CPUs)."""

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self.bytes_summed = 0

    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace a contiguous `tensor` by its sum over ranks, in place."""
        if not tensor.is_contiguous():
            raise ValueError("sum_ works in place and needs a contiguous tensor, not a strided view")
        dist.all_reduce(torch.view_as_real(tensor) if tensor.is_complex() else tensor)
        self.bytes_summed += tensor.numel() * tensor.element_size()
        return tensor

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on at least one rank."""
        return bool(self.sum_(torch.tensor([int(flag)])).item())

    def gather_messages(self, message: str) -> list[str]:
        """Return every rank's message, by rank."""
        messages: list[str] = [""] * self.size
        dist.all_gather_object(messages, message)
        return messages


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
