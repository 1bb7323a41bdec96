"""The noise against which a traced peak is judged: that of the band-passed volume in the vacuum around the specimen.

The vacuum is found in the data: where the local energy of the band-passed volume is neither well above that of the
quiet part of the volume nor a few per cent of that of the specimen. Voxels near the specimen do not count.

The noise of a reconstruction is not Gaussian: constraints set most of the vacuum to zero and leave a few high specks.
The standard deviation is therefore that of the narrowest Gaussian whose tail is nowhere below that of the vacuum,
down to its highest voxel. For Gaussian noise it is the usual one. The level is the significance that Gaussian noise
reaches in `EXPECTED_FALSE` of all voxels of the volume, on average. No voxel of the vacuum reaches it.

This says nothing about errors that are no noise and follow the specimen, such as streaks of a missing wedge or wrong
poses: only volumes from independent halves of the data tell those from atoms.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import scipy.stats
from numpy.typing import NDArray

from dptt.analysis.grid import VoxelSize

EXPECTED_FALSE = 0.05
"""Voxels in which Gaussian noise exceeds the level, on average over volumes."""
ABOVE_QUIET, OF_SPECIMEN = 3.0, 0.03
"""Energy of the specimen: above three times that of the quiet part, and above 3 % of that of its own strong part."""
QUIET, STRONG = 0.3, 0.98
"""Quantiles of the local energy that stand for the quiet part of the volume and for the strong part."""
TAILS = (1e-1, 1e-2, 1e-3, 1e-4)
"""Fractions of the vacuum at which its tail is compared with a Gaussian's, besides its highest voxel."""


@dataclass(frozen=True)
class PeakNoise:
    """Noise of a band-passed volume.

    Attributes
    ----------
    sigma : float
        Standard deviation [V].
    vacuum_fraction : float
        Part of the volume it was measured in; 1 where no specimen stands out from the rest.
    level : float
        Significance that noise hardly ever reaches, see `expected_false`.
    expected_false : float
        Voxels of the whole volume in which Gaussian noise exceeds the level, on average: an upper bound for peaks.
    """

    sigma: float
    vacuum_fraction: float
    level: float
    expected_false: float


def peak_noise(filtered: NDArray[np.floating], voxel_size: VoxelSize, min_separation: float) -> PeakNoise:
    """Noise of a band-passed volume (z, y, x) [V] whose peaks are at least a separation [Å] apart."""
    vacuum = vacuum_voxels(filtered, voxel_size, min_separation)
    if not vacuum.any():
        vacuum = np.ones(filtered.shape, dtype=bool)
    level = float(scipy.stats.norm.isf(EXPECTED_FALSE / filtered.size))
    voxels_of_a_peak = (min_separation / 2) ** 3 / float(np.prod(voxel_size))
    return PeakNoise(_sigma(filtered[vacuum], voxels_of_a_peak), float(vacuum.mean()), level, EXPECTED_FALSE)


def vacuum_voxels(filtered: NDArray[np.floating], voxel_size: VoxelSize, min_separation: float) -> NDArray[np.bool_]:
    """Which voxels are outside the specimen: all where none stands out, none where it is everywhere."""
    separation = [min_separation / size for size in voxel_size]
    energy = filtered**2
    scipy.ndimage.gaussian_filter(energy, separation, output=energy, mode="nearest")  # axis by axis, line by line
    quiet, strong = np.quantile(energy, (QUIET, STRONG))
    specimen = energy > max(ABOVE_QUIET * quiet, OF_SPECIMEN * strong)
    near = [2 * int(np.ceil(voxels)) + 1 for voxels in separation]
    return ~scipy.ndimage.maximum_filter(specimen, near)


def spread(deviations: NDArray[np.floating]) -> float:
    """Standard deviation of a Gaussian, from the median of its absolute deviations, which are overwritten."""
    np.abs(deviations, out=deviations)
    return 1.4826 * float(np.median(deviations, overwrite_input=True))


def _sigma(values: NDArray[np.floating], voxels_of_a_peak: float) -> float:
    """Return the standard deviation of the narrowest Gaussian with no tail below that of the values.

    The values are overwritten.
    """
    tails = [tail for tail in TAILS if tail * len(values) > 10] + [1 / (len(values) / max(voxels_of_a_peak, 1.0) + 2)]
    reached = np.quantile(values, 1 - np.array(tails[:-1]), overwrite_input=True).tolist() + [float(values.max())]
    values -= np.median(values, overwrite_input=True)
    return float(max([spread(values), *(np.array(reached) / scipy.stats.norm.isf(tails))]))
