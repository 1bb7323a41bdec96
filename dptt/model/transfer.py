"""How patterns reach the device that computes: not at all on a CPU, by a separate stream on a GPU.

A transfer has three steps, so that a minibatch travels while the one before it is computed:

    prepared = transfer.prepare(patterns)    any thread     memory from which the device reads by itself
    flight = transfer.begin(prepared)        any thread     returns at once
    patterns = transfer.take(flight)         when needed    later computations wait for the arrival

The device's memory comes from the pool of the copying stream, which writes nothing before the computing stream has
finished all work queued until then. So the memory that a minibatch released is written only after its last reader has
ended, and a minibatch that was sent but never taken does no harm: two minibatches need two buffers. `record_stream`
would be as safe, but would skip a buffer that is still being read, and allocate a third one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

PIECE_BYTES = 16 << 20
"""PyTorch rounds pinned memory up to a power of two: pieces just below one waste little."""

Prepared = Sequence[Tensor]
"""Patterns (pos, y, x) of a minibatch in the host's memory, in consecutive pieces."""


@dataclass(frozen=True)
class Flight:
    """Patterns on their way to the device."""

    patterns: Shaped[Tensor, "pos y x"]
    """On the device; complete after `arrived`."""
    arrived: torch.cuda.Event | None = None


@runtime_checkable
class Transfer(Protocol):
    """The way from the host's memory to the device that computes."""

    def prepare(self, patterns: Shaped[Tensor, "pos y x"]) -> Prepared:
        """Return patterns in memory from which the device reads by itself."""
        ...

    def begin(self, prepared: Prepared) -> Flight:
        """Send patterns, and return before they arrive."""
        ...

    def take(self, flight: Flight) -> Shaped[Tensor, "pos y x"]:
        """Return patterns that are complete for all computations queued from now on."""
        ...


class SameMemory:
    """No transfer: the host computes."""

    def prepare(self, patterns: Shaped[Tensor, "pos y x"]) -> Prepared:
        """Return the patterns."""
        return [patterns]

    def begin(self, prepared: Prepared) -> Flight:
        """Return the patterns."""
        return Flight(prepared[0])

    def take(self, flight: Flight) -> Shaped[Tensor, "pos y x"]:
        """Return the patterns."""
        return flight.patterns


class ToGpu:
    """From pinned memory to the GPU `device`, for computations on the stream that is current now."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._computing = torch.cuda.current_stream(device)
        self._copying = torch.cuda.Stream(device)

    def prepare(self, patterns: Shaped[Tensor, "pos y x"]) -> Prepared:
        """Return a copy in pinned memory."""
        length = max(1, PIECE_BYTES // max(1, patterns[:1].nbytes))
        with torch.cuda.device(self._device):  # in another thread another GPU is the current one
            return [piece.pin_memory() for piece in patterns.split(length)]

    def begin(self, prepared: Prepared) -> Flight:
        """Have the copying stream fetch patterns as soon as the computing stream has done its present work."""
        with torch.cuda.stream(self._copying):
            shape = (sum(map(len, prepared)), *prepared[0].shape[1:])
            patterns = torch.empty(shape, dtype=prepared[0].dtype, device=self._device)
            # after the allocation, not before: another thread may have released this memory in between
            self._copying.wait_stream(self._computing)
            for target, piece in zip(patterns.split(list(map(len, prepared))), prepared, strict=True):
                target.copy_(piece, non_blocking=True)
            return Flight(patterns, self._copying.record_event())

    def take(self, flight: Flight) -> Shaped[Tensor, "pos y x"]:
        """Have the computing stream wait for the arrival."""
        assert flight.arrived is not None
        self._computing.wait_event(flight.arrived)
        return flight.patterns


def chosen_patterns(
    patterns: Shaped[Tensor, "pos y x"], selected: Bool[Tensor, " pos"]
) -> Shaped[Tensor, "selected y x"]:
    """Return the patterns that `selected`, on the host, marks; not every PyTorch can index uint16 on a GPU."""
    signed = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}
    bits = patterns.view(signed.get(patterns.dtype, patterns.dtype))
    return bits[selected.to(patterns.device)].view(patterns.dtype)
