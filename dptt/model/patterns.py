"""Measured patterns as the model wants them: corner order, the window's size, the detector's own type."""

import logging
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

FAINTEST, BRIGHTEST = 0.25, 4.0
"""Patterns with fewer or more electrons than these multiples of the tilt's mean are faults of beam or detector."""

log = logging.getLogger("dptt")


class PatternReader:
    """Patterns of one tilt, read by index when they are needed, kept in memory if `keep`.

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
        Whether what was read once stays in memory.
    name
        Of the tilt, for the log.
    """

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
    ) -> None:
        self._read, self._selection, self._keep, self._name = read, selection, keep, name
        self._looked_at = np.zeros(len(selection), bool)
        self._usable = np.ones(len(selection), bool)
        self._window = window_shape
        self._kept: dict[tuple[int, ...], Tensor] = {}
        self.scale, self.mean_electrons = scale, mean_electrons
        self.shot_noise_loss = 0.0
        self.mask: Bool[Tensor, "y x"] | None = None
        measured = np.ones(detector_shape, bool) if mask is None else mask
        if mask is not None or any(w > n for w, n in zip(window_shape, detector_shape, strict=True)):
            self.mask = centre_window(measured[None], window_shape)[0]

    def read(self, indices: Int[Tensor, " pos"]) -> Shaped[Tensor, "pos y x"]:
        """Return patterns at ascending `indices` of the selection."""
        if len(indices) == 0:
            return torch.zeros((0, *self._window))
        key = tuple(indices.tolist())
        if key in self._kept:
            return self._kept[key]
        counts = self._read(self._selection[indices.numpy()])
        self._look_at(counts, indices.numpy())
        patterns = centre_window(counts, self._window)
        if self._keep:
            self._kept[key] = patterns
        return patterns

    def usable(self, indices: Int[Tensor, " pos"]) -> Bool[Tensor, " pos"]:
        """Return which of the patterns `indices`, read before, are neither empty nor overexposed."""
        return torch.from_numpy(self._usable[indices.numpy()])

    @property
    def num_left_out(self) -> int:
        """Patterns found empty or overexposed so far, among those that this rank has read."""
        return int((~self._usable).sum())

    def _look_at(self, counts: np.ndarray, indices: np.ndarray) -> None:
        """Find faulty patterns among those that are read for the first time."""
        new = ~self._looked_at[indices]
        if not new.any():
            return
        electrons = counts[new].sum((1, 2), dtype=np.float64) * self.scale
        # NaN is not left out here: it is no fault of the beam, and stops the run by name
        faint, bright = electrons < FAINTEST * self.mean_electrons, electrons > BRIGHTEST * self.mean_electrons
        self._looked_at[indices] = True
        self._usable[indices[new]] = ~(faint | bright)
        for what, which in (("empty", faint), ("overexposed", bright)):
            bad = self._selection[indices[new][which]]
            if len(bad):
                first = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
                log.warning(f"tilt {self._name}: {len(bad)} {what} patterns are left out: {first}")


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
