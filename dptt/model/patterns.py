"""Measured patterns as the model wants them: corner order, the window's size, the detector's own type."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor


class PatternReader:
    """Patterns of one tilt, read by index when they are needed, kept in memory if `keep`.

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
    ) -> None:
        self._read, self._selection, self._keep = read, selection, keep
        self._window = window_shape
        self._kept: dict[tuple[int, ...], Tensor] = {}
        self.scale, self.mean_electrons = scale, mean_electrons
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
        patterns = centre_window(self._read(self._selection[indices.numpy()]), self._window)
        if self._keep:
            self._kept[key] = patterns
        return patterns


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
