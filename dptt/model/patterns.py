"""Measured patterns as the model needs them: corner order, the window's size, the detector's own type.

Between two uses patterns are in the file, in the host's memory, or on the device that computes. On a GPU the last is
"resident", the others are "streamed": then the GPU holds at most the minibatch in work and the next one.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from dptt.model.faulty_patterns import PatternLimits, pattern_totals
from dptt.model.read_ahead import ReadAhead
from dptt.model.transfer import Flight, Prepared, SameMemory, Transfer

SAME_MEMORY = SameMemory()

log = logging.getLogger("dptt")


@dataclass(frozen=True)
class Loaded:
    """Patterns that were read and are on their way to the device."""

    prepared: Prepared
    flight: Flight
    electrons: Float[np.ndarray, " _"]
    """Of every pattern, on the valid pixels; empty if all patterns were checked before."""


@dataclass(frozen=True)
class StoredPatterns:
    """The patterns of one tilt in the file."""

    read: Callable[[np.ndarray], np.ndarray]
    """Returns the patterns (n, ky, kx) at ascending indices, zero angle at n//2."""
    selection: Int[np.ndarray, " _"]
    """Index in the file of every pattern that takes part."""
    detector_shape: tuple[int, int]
    """Pixels of a pattern."""
    scale: float
    """Electrons per count."""
    mean_electrons: float
    """Mean electrons of a pattern, on the valid pixels."""
    limits: PatternLimits
    """Electrons of a good pattern, on the valid pixels."""
    mask: Bool[np.ndarray, "_ _"] | None = None
    """Valid detector pixels; None if all are."""
    name: str = ""
    """Of the tilt, for the log."""


@dataclass(frozen=True)
class Delivery:
    """How the readers of all tilts bring patterns to where they are computed."""

    window_shape: tuple[int, int]
    """Pixels of a pattern in the model. A larger window is padded with unmeasured pixels, a smaller one crops the
    pattern about the zero angle."""
    keep: bool = False
    """Whether what was read once stays in the host's memory."""
    transfer: Transfer = SAME_MEMORY
    """The way to the device that computes."""
    resident: bool = False
    """Whether all patterns that this rank reads stay on that device instead."""
    ahead: ReadAhead[Loaded] = field(default_factory=ReadAhead)
    """One for all tilts."""


class PatternReader:
    """Patterns of one tilt, read by index when they are needed or a little before.

    Empty and overexposed patterns are recognised as they are read, named once in the log, and left out.
    """

    def __init__(self, stored: StoredPatterns, delivery: Delivery) -> None:
        self._stored, self._delivery = stored, delivery
        self.name, self.scale, self.mean_electrons = stored.name, stored.scale, stored.mean_electrons
        self.seconds_reading = 0.0
        self._checked = np.zeros(len(stored.selection), bool)
        self._usable = np.ones(len(stored.selection), bool)
        self._resident: dict[tuple[int, ...], Tensor] = {}
        self._kept: dict[tuple[int, ...], Prepared] = {}
        self.mask: Bool[Tensor, "y x"] | None = None
        window, detector = delivery.window_shape, stored.detector_shape
        if stored.mask is not None or any(w > n for w, n in zip(window, detector, strict=True)):
            valid = np.ones(detector, bool) if stored.mask is None else stored.mask
            self.mask = centre_window(valid[None], window)[0]

    def read(self, indices: Int[Tensor, " pos"]) -> Shaped[Tensor, "pos y x"]:
        """Return patterns at ascending `indices` of the selection, on the device that computes."""
        start = time.perf_counter()
        try:
            return self._read(indices)
        finally:
            self.seconds_reading += time.perf_counter() - start

    def _read(self, indices: Tensor) -> Tensor:
        if len(indices) == 0:
            return torch.zeros((0, *self._delivery.window_shape))
        key = tuple(indices.tolist())
        if key in self._resident:
            return self._resident[key]
        loaded = self._delivery.ahead.take((self, key)) or self._load(key, indices)
        self._check(loaded.electrons, indices.numpy())
        patterns = self._delivery.transfer.take(loaded.flight)
        if self._delivery.resident:
            self._resident[key] = patterns
        elif self._delivery.keep:
            self._kept[key] = loaded.prepared
        return patterns

    def prefetch(self, indices: Int[Tensor, " pos"]) -> None:
        """Begin to bring the patterns at ascending `indices`, which the next `read` returns.

        Another thread reads the file. What the host holds is sent by this thread, which does not wait.
        """
        key = tuple(indices.tolist())
        if key and key not in self._resident:
            self._delivery.ahead.begin((self, key), lambda: self._load(key, indices), at_once=key in self._kept)

    def _load(self, key: tuple[int, ...], indices: Tensor) -> Loaded:
        """Read and send patterns; changes nothing in this object, because another thread may call it."""
        transfer = self._delivery.transfer
        if key in self._kept:
            return Loaded(self._kept[key], transfer.begin(self._kept[key]), np.zeros(0))
        counts = self._stored.read(self._stored.selection[indices.numpy()])
        checked = self._checked[indices.numpy()].all()
        electrons = np.zeros(0) if checked else pattern_totals(counts, self._stored.mask) * self.scale
        prepared = transfer.prepare(centre_window(counts, self._delivery.window_shape))
        return Loaded(prepared, transfer.begin(prepared), electrons)

    def usable(self, indices: Int[Tensor, " pos"]) -> Bool[Tensor, " pos"]:
        """Return which of the patterns `indices`, read before, are neither empty nor overexposed."""
        return torch.from_numpy(self._usable[indices.numpy()])

    @property
    def num_left_out(self) -> int:
        """Number of empty or overexposed patterns among those that this rank has read so far."""
        return int((~self._usable).sum())

    def _check(self, electrons: Float[np.ndarray, " pos"], indices: np.ndarray) -> None:
        """Mark and log the faulty patterns among those of `indices` that are read for the first time."""
        new = ~self._checked[indices]
        if not new.any():
            return
        # NaN is not left out here: it is no fault of the beam, and stops the run with the name of the tilt
        faulty = self._stored.limits.judge(electrons[new])
        self._checked[indices] = True
        self._usable[indices[new]] = ~faulty.any_kind
        for kind, of_kind in (("empty", faulty.empty), ("overexposed", faulty.overexposed)):
            bad = self._stored.selection[indices[new][of_kind]]
            if len(bad):
                first = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
                log.warning(f"tilt {self.name}: {len(bad)} {kind} patterns are left out: {first}")


def centre_window(
    patterns: Shaped[np.ndarray, "pos ky kx"], window_shape: tuple[int, int]
) -> Shaped[Tensor, "pos y x"]:
    """Return patterns padded or cropped about the zero angle (index n//2), which is brought to the corner."""
    for axis, window in zip((1, 2), window_shape, strict=True):
        before = window // 2 - patterns.shape[axis] // 2
        if before < 0:
            patterns = np.take(patterns, range(-before, window - before), axis=axis)
        elif window > patterns.shape[axis]:
            widths = [(0, 0)] * 3
            widths[axis] = (before, window - patterns.shape[axis] - before)
            patterns = np.pad(patterns, widths)
    return torch.from_numpy(np.ascontiguousarray(np.fft.ifftshift(patterns, axes=(1, 2))))
