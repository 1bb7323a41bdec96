"""Which pixels of the detector a tilt uses: those of its mask, without hot and dead ones found in the data."""

import numpy as np
import torch
from jaxtyping import Float

from dptt.io.dataset import Tilt, TiltSeries
from dptt.model.faulty_pixels import faulty_pixels

PATTERNS = 256
"""Evenly spaced patterns of a tilt whose mean shows them."""


def usable_pixels(tilt: Tilt, series: TiltSeries) -> np.ndarray | None:
    """Return the usable pixels (ky, kx) of a tilt; None if all are. All of its patterns judge, also of a half-set."""
    mask = tilt.mask()
    faulty = found_faulty_pixels(tilt, series)
    if not faulty.any():
        return mask
    return ~faulty if mask is None else mask & ~faulty


def found_faulty_pixels(tilt: Tilt, series: TiltSeries) -> np.ndarray:
    """Return the pixels (ky, kx) of a tilt that its mask leaves and that are hot or dead."""
    chosen = np.unique(np.linspace(0, tilt.num_positions - 1, PATTERNS).astype(int))
    mean = tilt.read(chosen).mean(0, dtype=np.float64) / tilt.counts_per_electron
    finite = np.isfinite(mean)  # what is not finite is refused as such, not left out in silence
    mask = tilt.mask()
    valid = finite if mask is None else mask & finite
    hot, dead = faulty_pixels(np.where(finite, mean, 0.0), valid, len(chosen), disk_radius(series))
    return hot | dead


def disk_radius(series: TiltSeries) -> float:
    """Return the radius of the aperture's image [pixels]."""
    return series.semiangle_cutoff / max(series.angular_sampling)


def moved_back(
    patterns: Float[np.ndarray, "pos ky kx"], shifts: Float[torch.Tensor, "pos 2"]
) -> Float[np.ndarray, "pos ky kx"]:
    """Return patterns displaced by minus `shifts` [pixels]: interpolated, so for pictures and starts only."""
    frequencies = [np.fft.fftfreq(n) for n in patterns.shape[1:]]
    phase = shifts.numpy()[:, 0, None, None] * frequencies[0][:, None] + (
        shifts.numpy()[:, 1, None, None] * frequencies[1]
    )
    moved = np.fft.ifft2(np.fft.fft2(patterns) * np.exp(2j * np.pi * phase)).real
    return np.clip(moved, 0, None)
