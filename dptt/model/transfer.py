"""How patterns come to where waves are computed: not at all on a CPU, by a stream of their own to a GPU.

A transfer has three steps, so that a minibatch travels while the one before it is computed:

    prepared = transfer.prepare(patterns)    any thread     memory from which the device reads by itself
    flight = transfer.begin(prepared)        any thread     returns at once
    patterns = transfer.take(flight)         when wanted    what is computed afterwards waits for the arrival

The device's memory is taken from the pool of the copying stream, which writes nothing before all that was asked of
the computing stream until then is done. So the memory that a minibatch gave back is written when its last reader has
ended, and what was sent and never taken does no harm: two minibatches need two buffers. `record_stream` would be as
safe, but a buffer still being read when the next one is wanted would be passed over, and a third allocated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

PIECE_BYTES = 16 << 20
"""PyTorch's pinned memory comes in powers of two: pieces just below one waste little, a minibatch up to its size."""

Prepared = Sequence[Tensor]
"""Patterns (pos, y, x) of a minibatch in the host's memory, in pieces one behind the other."""


@dataclass(frozen=True)
class Flight:
    """Patterns on their way."""

    patterns: Shaped[Tensor, "pos y x"]
    """Where they are computed; complete after `arrived`."""
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
        """Return patterns that are complete for whatever is computed from now on."""
        ...


class SameMemory:
    """Nothing travels: the host computes."""

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
    """From pinned memory to the GPU `device`, for what is computed on the stream that is current now."""

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
        """Have the copying stream fetch patterns as soon as the computing one has done what it was asked so far."""
        with torch.cuda.stream(self._copying):
            shape = (sum(map(len, prepared)), *prepared[0].shape[1:])
            patterns = torch.empty(shape, dtype=prepared[0].dtype, device=self._device)
            # after the memory was handed out, not before: another thread may have given it back in between
            self._copying.wait_stream(self._computing)
            for part, piece in zip(patterns.split(list(map(len, prepared))), prepared, strict=True):
                part.copy_(piece, non_blocking=True)
            return Flight(patterns, self._copying.record_event())

    def take(self, flight: Flight) -> Shaped[Tensor, "pos y x"]:
        """Have the computing stream wait for the arrival."""
        assert flight.arrived is not None
        self._computing.wait_event(flight.arrived)
        return flight.patterns


def chosen_patterns(patterns: Shaped[Tensor, "pos y x"], which: Bool[Tensor, " pos"]) -> Shaped[Tensor, "some y x"]:
    """Return those of the patterns that `which`, on the host, names; not every PyTorch can index uint16 on a GPU."""
    signed = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}
    bits = patterns.view(signed.get(patterns.dtype, patterns.dtype))
    return bits[which.to(patterns.device)].view(patterns.dtype)
