"""Messages over MPI with mpi4py, which is imported only if MPI is used.

Buffers are passed to MPI in pieces of at most 1 GiB: before MPI-4 a message has at most 2³¹ - 1 elements.

Tensors on a GPU go through pinned host memory, unless the MPI library reports that it can read GPU memory.
"""

import ctypes
import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from dptt.distributed.comm import Communicator, SerialCommunicator
from dptt.distributed.texts import gather_by_mpi
from dptt.distributed.watch import Watch, Watched

PIECE = 2**30
"""Maximum size of a message [bytes]."""


class MpiCommunicator(Watched):
    """Collectives over an mpi4py communicator.

    Parameters
    ----------
    mpi
        An `mpi4py.MPI.Comm`, also used for parallel HDF5.
    watch
        Notified when this rank waits for others.
    """

    def __init__(self, mpi: Any, watch: Watch | None = None) -> None:
        from mpi4py import MPI

        super().__init__(watch)
        self._constants, self.mpi = MPI, mpi
        self.rank, self.size = mpi.Get_rank(), mpi.Get_size()
        self.many_threads: bool = MPI.Query_thread() == MPI.THREAD_MULTIPLE
        self.bytes_sent = 0

    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace a contiguous `tensor` by its sum over ranks, in place."""
        message = self._message(tensor, "sum_")
        with self._waiting():
            for piece in pieces(message):
                self.mpi.Allreduce(self._constants.IN_PLACE, _buffer(piece))
        self._arrived(tensor, message)
        self.bytes_sent += tensor.numel() * tensor.element_size()
        return tensor

    def begin_sum(self, tensor: Tensor) -> Callable[[], None]:
        """Begin `sum_` and return the function that completes it; progress in between depends on the MPI library."""
        message = self._message(tensor, "sum_")
        self.bytes_sent += tensor.numel() * tensor.element_size()
        pending = [self.mpi.Iallreduce(self._constants.IN_PLACE, _buffer(piece)) for piece in pieces(message)]

        def end() -> None:
            with self._waiting():
                self._constants.Request.Waitall(pending)
            self._arrived(tensor, message)

        return end

    def exchange(self, outgoing: Mapping[int, Tensor], incoming: Mapping[int, Tensor]) -> None:
        """Send `outgoing[r]` to rank r and fill `incoming[r]` with what rank r sends."""
        received = {peer: self._message(tensor, "exchange") for peer, tensor in sorted(incoming.items())}
        sent = {peer: self._message(tensor, "exchange") for peer, tensor in sorted(outgoing.items())}
        self.bytes_sent += sum(t.numel() * t.element_size() for t in outgoing.values())
        with self._waiting():
            # the pieces of a message arrive in order: messages of the same pair and tag do not overtake in MPI
            pending = [
                self.mpi.Irecv(_buffer(p), peer) for peer, message in received.items() for p in pieces(message)
            ]
            pending += [self.mpi.Isend(_buffer(p), peer) for peer, message in sent.items() for p in pieces(message)]
            self._constants.Request.Waitall(pending)
        for peer, message in received.items():
            self._arrived(incoming[peer], message)

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on at least one rank."""
        return bool(self.sum_(torch.tensor([int(flag)])).item())

    def maximum(self, value: float) -> float:
        """Return the maximum of `value` over all ranks."""
        maximum = torch.tensor([value], dtype=torch.float64)
        with self._waiting():
            self.mpi.Allreduce(self._constants.IN_PLACE, maximum.numpy(), op=self._constants.MAX)
            return maximum.item()

    def gather_messages(self, message: str) -> list[str]:
        """Return every rank's message, by rank."""
        with self._waiting():
            return gather_by_mpi(self.mpi, message)

    def split(self, colour: int) -> "Communicator":
        """Return the communicator of the ranks with the same `colour`."""
        with self._waiting():
            group = self.mpi.Split(colour, self.rank)
        return MpiCommunicator(group, self._watch) if group.Get_size() > 1 else SerialCommunicator()

    def _message(self, tensor: Tensor, purpose: str) -> Tensor:
        """Return the memory that MPI reads and writes for `tensor`, as real numbers."""
        if not tensor.is_contiguous():
            raise ValueError(f"{purpose} works on the memory of a contiguous tensor, not on a strided view")
        plain = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).detach().view(-1)
        if not tensor.is_cuda:
            return plain
        if not mpi_reads_gpu_memory():
            staged = torch.empty(plain.shape, dtype=plain.dtype, pin_memory=True)
            return staged.copy_(plain)
        torch.cuda.current_stream(tensor.device).synchronize()  # MPI does not know torch's streams
        return plain

    def _arrived(self, tensor: Tensor, message: Tensor) -> None:
        """Copy a staged message back to the GPU."""
        if message.device != tensor.device:
            plain = torch.view_as_real(tensor) if tensor.is_complex() else tensor
            plain.view(-1).copy_(message)


def pieces(message: Tensor) -> Iterator[Tensor]:
    """Yield pieces of a flat tensor of at most `PIECE` bytes, in order; none for an empty tensor."""
    step = max(1, PIECE // message.element_size())
    for start in range(0, message.numel(), step):
        yield message[start : start + step]


@cache
def mpi_reads_gpu_memory() -> bool:
    """Return whether the MPI library reports that it can read GPU memory."""
    from mpi4py import MPI

    if os.environ.get("MPICH_GPU_SUPPORT_ENABLED") == "1":  # Cray
        return True
    query = getattr(ctypes.CDLL(MPI.__file__), "MPIX_Query_cuda_support", None)  # Open MPI, MPICH
    return bool(query and query())


def _buffer(piece: Tensor) -> Any:
    """Return the buffer for mpi4py: an array on the CPU, on a GPU the tensor, which has a CUDA array interface."""
    return piece if piece.is_cuda else piece.numpy()
