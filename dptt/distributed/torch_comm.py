"""Messages over torch.distributed: gloo on CPUs, NCCL on NVIDIA GPUs."""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from dptt.distributed.comm import Communicator, SerialCommunicator
from dptt.distributed.texts import gather_by_torch
from dptt.distributed.watch import Watch, Watched


class TorchCommunicator(Watched):
    """Collectives over a process group of torch, the default group if `group` is None.

    Parameters
    ----------
    device
        Where messages must be: NCCL sends from the GPU only, gloo from the host. Other tensors are copied there.
    watch
        Notified when this rank waits for others.
    """

    def __init__(
        self,
        group: dist.ProcessGroup | None = None,
        device: torch.device | None = None,
        watch: Watch | None = None,
    ) -> None:
        super().__init__(watch)
        self._group, self._device = group, device
        self.rank = dist.get_rank(group)
        self.size = dist.get_world_size(group)
        self.bytes_sent = 0

    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace a contiguous `tensor` by its sum over ranks, in place."""
        self.begin_sum(tensor)()
        return tensor

    def begin_sum(self, tensor: Tensor) -> Callable[[], None]:
        """Begin `sum_`, which runs while the caller computes, and return the function that completes it."""
        message = self._message(tensor, "sum_")
        self.bytes_sent += tensor.numel() * tensor.element_size()
        with self._waiting():
            work = dist.all_reduce(message, group=self._group, async_op=True)

        def end() -> None:
            with self._waiting():
                work.wait()
                self._arrived([(tensor, message)])

        return end

    def exchange(self, outgoing: Mapping[int, Tensor], incoming: Mapping[int, Tensor]) -> None:
        """Send `outgoing[r]` to rank r and fill `incoming[r]` with what rank r sends."""
        operations, received = [], []
        for peer, tensor in sorted(outgoing.items()):
            if tensor.numel():
                message = self._message(tensor, "exchange")
                operations.append(dist.P2POp(dist.isend, message, group=self._group, group_peer=peer))
        for peer, tensor in sorted(incoming.items()):
            if tensor.numel():
                received.append((tensor, self._message(tensor, "exchange")))
                operations.append(dist.P2POp(dist.irecv, received[-1][1], group=self._group, group_peer=peer))
        self.bytes_sent += sum(t.numel() * t.element_size() for t in outgoing.values())
        if operations:
            with self._waiting():
                for pending in dist.batch_isend_irecv(operations):
                    pending.wait()
                self._arrived(received)

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on at least one rank."""
        return bool(self.sum_(torch.tensor([int(flag)])).item())

    def maximum(self, value: float) -> float:
        """Return the maximum of `value` over all ranks."""
        maximum = torch.tensor([value], dtype=torch.float64, device=self._device)
        with self._waiting():
            dist.all_reduce(maximum, op=dist.ReduceOp.MAX, group=self._group)
            return maximum.item()

    def gather_messages(self, message: str) -> list[str]:
        """Return every rank's message, by rank."""
        with self._waiting():
            return gather_by_torch(message, self._group, self._device)

    def split(self, colour: int) -> "Communicator":
        """Return the communicator of the ranks with the same `colour`."""
        colours = self.gather_messages(str(colour))
        members = [rank for rank, other in enumerate(colours) if other == str(colour)]
        if len(members) == 1:
            return SerialCommunicator()
        ranks = [dist.get_global_rank(self._group, rank) for rank in members] if self._group else members
        with self._waiting():
            group = dist.new_group(ranks, use_local_synchronization=True)
        return TorchCommunicator(group, self._device, self._watch)

    def _message(self, tensor: Tensor, purpose: str) -> Tensor:
        """Return the message for `tensor`: its memory as real numbers, or a copy on the device."""
        if not tensor.is_contiguous():
            raise ValueError(f"{purpose} works on the memory of a contiguous tensor, not on a strided view")
        plain = torch.view_as_real(tensor) if tensor.is_complex() else tensor
        return plain.to(self._device or "cpu")

    def _arrived(self, messages: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Copy messages back to their tensors, and wait for the device.

        NCCL returns before a message is complete. Waiting costs nothing, as the sum is used immediately, and shows
        the watch which rank waits for which.
        """
        for tensor, message in messages:
            if message.device != tensor.device:
                (torch.view_as_real(tensor) if tensor.is_complex() else tensor).copy_(message)
        if self._device is not None:
            torch.cuda.current_stream(self._device).synchronize()
