"""Measured patterns as the model wants them: corner order, the window's size, the detector's own type.

Between two uses patterns are in the file, in the host's memory, or where they are computed. On a GPU the last is
"resident", the others are "streamed": at most one minibatch is computed and one on its way.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from dptt.model.read_ahead import ReadAhead
from dptt.model.transfer import Flight, Prepared, SameMemory, Transfer

FAINTEST, BRIGHTEST = 0.25, 4.0
"""Patterns with fewer or more electrons than these multiples of the tilt's mean are faults of beam or detector."""

SAME_MEMORY = SameMemory()

log = logging.getLogger("dptt")


@dataclass(frozen=True)
class Loaded:
    """Patterns that were read, and are on their way."""

    prepared: Prepared
    flight: Flight
    electrons: Float[np.ndarray, " _"]
    """In each; none where all patterns were looked at before."""


class PatternReader:
    """Patterns of one tilt, read by index when they are needed or a little before, kept in memory if `keep`.

    Empty and overexposed patterns are found as they are read, named once in the log, and take no part.

    Parameters
    ----------
    read
        Returns the patterns (n, ky, kx) at ascending indices, zero angle at n//2.
    selection
        Index in the file of every pattern of the reconstruction.
    detector_shape, window_shape
        Pixels of a pattern on disk and in the model; a larger window is padded with unmeasured pixels, a smaller
        one crops the pattern about the zero angle.
    scale
        Electrons per count.
    mean_electrons
        Mean electrons of a pattern.
    mask
        Valid detector pixels on disk, None if all are.
    keep
        Whether what was read once stays in the host's memory.
    name
        Of the tilt, for the log.
    transfer
        The way to the device that computes.
    resident
        Whether patterns stay on that device instead, all that this rank reads.
    """

    _ahead: ClassVar[ReadAhead[Loaded]] = ReadAhead()
    """One for all tilts: a process is never more than one minibatch ahead."""

    def __init__(
        self,
        read: Callable[[np.ndarray], np.ndarray],
        selection: np.ndarray,
        detector_shape: tuple[int, int],
        window_shape: tuple[int, int],
        scale: float,
        mean_electrons: float,
        mask: np.ndarray | None,
        keep: bool,
        name: str = "",
        transfer: Transfer = SAME_MEMORY,
        resident: bool = False,
    ) -> None:
        self._transfer, self._resident = transfer, resident
        self._read, self._selection, self._keep, self.name = read, selection, keep, name
        self._looked_at = np.zeros(len(selection), bool)
        self._usable = np.ones(len(selection), bool)
        self._window = window_shape
        self._there: dict[tuple[int, ...], Tensor] = {}
        self._kept: dict[tuple[int, ...], Prepared] = {}
        self.scale, self.mean_electrons = scale, mean_electrons
        self.shot_noise_loss = 0.0
        self.mask: Bool[Tensor, "y x"] | None = None
        measured = np.ones(detector_shape, bool) if mask is None else mask
        if mask is not None or any(w > n for w, n in zip(window_shape, detector_shape, strict=True)):
            self.mask = centre_window(measured[None], window_shape)[0]

    def read(self, indices: Int[Tensor, " pos"]) -> Shaped[Tensor, "pos y x"]:
        """Return patterns at ascending `indices` of the selection, on the device that computes."""
        if len(indices) == 0:
            return torch.zeros((0, *self._window))
        key = tuple(indices.tolist())
        if key in self._there:
            return self._there[key]
        loaded = self._ahead.take((self, key)) or self._load(key, indices)
        self._look_at(loaded.electrons, indices.numpy())
        patterns = self._transfer.take(loaded.flight)
        if self._resident:
            self._there[key] = patterns
        elif self._keep:
            self._kept[key] = loaded.prepared
        return patterns

    def prefetch(self, indices: Int[Tensor, " pos"]) -> None:
        """Begin to bring the patterns at ascending `indices`: `read` is asked for them next.

        A file is read in another thread; what the host holds is sent by this one, which does not wait.
        """
        key = tuple(indices.tolist())
        if key and key not in self._there:
            self._ahead.begin((self, key), lambda: self._load(key, indices), at_once=key in self._kept)

    def _load(self, key: tuple[int, ...], indices: Int[Tensor, " pos"]) -> Loaded:
        """Send patterns, without a trace in this object: another thread may have asked."""
        if key in self._kept:
            return Loaded(self._kept[key], self._transfer.begin(self._kept[key]), np.zeros(0))
        counts = self._read(self._selection[indices.numpy()])
        seen = self._looked_at[indices.numpy()].all()
        electrons = np.zeros(0) if seen else counts.sum((1, 2), dtype=np.float64) * self.scale
        prepared = self._transfer.prepare(centre_window(counts, self._window))
        return Loaded(prepared, self._transfer.begin(prepared), electrons)

    def usable(self, indices: Int[Tensor, " pos"]) -> Bool[Tensor, " pos"]:
        """Return which of the patterns `indices`, read before, are neither empty nor overexposed."""
        return torch.from_numpy(self._usable[indices.numpy()])

    @property
    def num_left_out(self) -> int:
        """Patterns found empty or overexposed so far, among those that this rank has read."""
        return int((~self._usable).sum())

    def _look_at(self, electrons: Float[np.ndarray, " pos"], indices: np.ndarray) -> None:
        """Find faulty patterns among those of `indices` that are read for the first time."""
        new = ~self._looked_at[indices]
        if not new.any():
            return
        electrons = electrons[new]
        # NaN is not left out here: it is no fault of the beam, and stops the run by name
        faint, bright = electrons < FAINTEST * self.mean_electrons, electrons > BRIGHTEST * self.mean_electrons
        self._looked_at[indices] = True
        self._usable[indices[new]] = ~(faint | bright)
        for what, which in (("empty", faint), ("overexposed", bright)):
            bad = self._selection[indices[new][which]]
            if len(bad):
                first = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
                log.warning(f"tilt {self.name}: {len(bad)} {what} patterns are left out: {first}")


@contextmanager
def reading_ends() -> Iterator[None]:
    """Read nothing ahead when the block is left: the file behind the patterns can be closed then."""
    try:
        yield
    finally:
        PatternReader._ahead.forget()


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
