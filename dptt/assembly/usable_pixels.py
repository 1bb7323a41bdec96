"""Which pixels of the detector a tilt uses: those of its mask, without hot and dead ones found in the data."""

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from dptt.io.dataset import Tilt, TiltSeries
from dptt.model.faulty_pixels import faulty_pixels
from dptt.physics.probe import shift_probe

PATTERNS = 256
"""Evenly spaced patterns of a tilt whose mean shows them."""


def usable_pixels(tilt: Tilt, series: TiltSeries) -> np.ndarray | None:
    """Return the usable pixels (ky, kx) of a tilt; None if all are. All of its patterns judge, also of a half-set."""
    chosen = evenly_spaced(tilt.quick_to_read(), PATTERNS)
    patterns = tilt.read(chosen)
    mean = patterns.mean(0, dtype=np.float64) / tilt.counts_per_electron
    finite = np.isfinite(mean)  # what is not finite is refused as such, not left out in silence
    mask = tilt.mask()
    valid = finite if mask is None else mask & finite
    hot, dead = faulty_pixels(
        np.where(finite, mean, 0.0), valid, electrons_summed(patterns, tilt), disk_radius(series)
    )
    faulty = hot | dead
    if not faulty.any():
        return mask
    return ~faulty if mask is None else mask & ~faulty


def electrons_summed(patterns: Shaped[np.ndarray, "pos ky kx"], tilt: Tilt) -> float:
    """Return how many electrons the sum of the patterns has for one of their mean.

    That is their number, or less where even the smallest count is more than the counts of an electron that the file
    tells: one electron then looks like several, and a few of them like no matter of chance.
    """
    positive = patterns[patterns > 0] if patterns.dtype.kind in "iu" else patterns[:0]
    smallest = float(positive.min()) if positive.size else 0.0
    return len(patterns) * tilt.counts_per_electron / max(smallest, tilt.counts_per_electron)


def evenly_spaced(numbers: NDArray[np.integer], count: int) -> NDArray[np.integer]:
    """Return at most `count` of the `numbers`, the first and the last among them."""
    return numbers[np.unique(np.linspace(0, len(numbers) - 1, count).astype(int))]


def disk_radius(series: TiltSeries) -> float:
    """Return the radius of the aperture's image [pixels]."""
    return series.semiangle_cutoff / max(series.angular_sampling)


def in_place(
    patterns: Shaped[np.ndarray, "pos ky kx"],
    usable: NDArray[np.bool_] | None,
    shifts: Float[torch.Tensor, "pos 2"] | None,
) -> Float[np.ndarray, "pos ky kx"]:
    """Return patterns with 0 where a pixel is not usable, and without the descan that displaced them by `shifts`."""
    patterns = patterns.astype(np.float64)
    if usable is not None:
        patterns = np.where(usable, patterns, 0.0)
    return patterns if shifts is None else moved_back(patterns, shifts)


def moved_back(
    patterns: Float[np.ndarray, "pos ky kx"], shifts: Float[torch.Tensor, "pos 2"]
) -> Float[np.ndarray, "pos ky kx"]:
    """Return patterns displaced by minus `shifts` [pixels]: interpolated, so for pictures and starts only."""
    along_y, along_x = shifts.unbind(1)
    waves = torch.from_numpy(patterns).to(torch.complex128)
    return np.clip(shift_probe(waves, -along_y, -along_x).real.numpy(), 0, None)
