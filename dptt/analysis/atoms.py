"""Trace atoms in a potential: find peaks, decide which are atoms, fit each to a fraction of a voxel.

1. *Find*: local maxima of the potential band-passed to the size of an atom (difference of two Gaussians), no two
   closer than ``min_separation``. The band-pass removes finer noise and coarser background (support, streaks).
2. *Decide*: peaks above a threshold, see `automatic_threshold`.
3. *Judge*: the significance of each peak against the noise of the band-passed vacuum, see `peak_noise`.
4. *Fit*: a Gaussian and a constant in a small window of the unfiltered potential, neighbours subtracted; see
   `gaussian_fit`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from scipy.spatial import KDTree

from dptt.analysis.gaussian_fit import fit_gaussians
from dptt.analysis.grid import VoxelSize, voxels_to_positions
from dptt.analysis.peak_noise import PeakNoise, peak_noise, spread

NOISE_FACTOR = 4.0  # peaks below this many standard deviations of the noise are never atoms
WEAKEST_FRACTION = 0.05  # nor are peaks below this fraction of the strongest: hydrogen next to gold is invisible
LOG_HEIGHT_BANDWIDTH = 0.08  # of the density of log heights: heights of one element vary by about this much
CHUNK = 65536  # pairs of peaks, compared at a time
WINDOW_FRACTION = 0.6  # radius of the fit window over the minimum separation


@dataclass(frozen=True)
class TracedAtoms:
    """Atoms in descending order of their peaks in the band-passed potential.

    Attributes
    ----------
    positions : array (n, 3)
        (z, y, x) [Å] from voxel ``n // 2``.
    heights : array (n,)
        Fitted peak above the local background [V].
    widths : array (n, 3)
        Standard deviations of the Gaussian along z, y, x [Å]; NaN where the fit failed.
    integrated_potential : array (n,)
        ``(2 pi)^(3/2) height · widths`` [V·Å³]; separates elements better than the height does.
    standard_errors : array (n, 3)
        Of the positions, from the fit's covariance [Å]; NaN where the fit failed and ``positions`` is the voxel's.
    threshold : float
        Height of the band-passed peaks that separates atoms from the rest [V].
    peaks : array (n,)
        Height of the band-passed peak [V].
    significance : array (n,)
        The same over the noise, ``noise.sigma``; infinite without noise.
    noise : PeakNoise
        Noise of the band-passed vacuum, and the significance that it hardly ever reaches.
    """

    positions: NDArray[np.floating]
    heights: NDArray[np.floating]
    widths: NDArray[np.floating]
    integrated_potential: NDArray[np.floating]
    standard_errors: NDArray[np.floating]
    threshold: float
    peaks: NDArray[np.floating]
    significance: NDArray[np.floating]
    noise: PeakNoise

    def is_significant(self) -> NDArray[np.bool_]:
        """Which peaks noise alone hardly ever makes, (n,)."""
        return self.significance > self.noise.level


def trace_atoms(
    potential: NDArray[np.number],
    voxel_size: VoxelSize,
    *,
    min_separation: float = 2.0,
    threshold: float | None = None,
    max_atoms: int | None = None,
    within: Callable[[NDArray[np.floating]], NDArray[np.bool_]] | None = None,
) -> TracedAtoms:
    """Atoms of a real potential (z, y, x) [V].

    Parameters
    ----------
    min_separation : float
        Smallest distance between two atoms [Å]; it also sets the size of an atom (sigma about a quarter of it).
        Choose it a little below the shortest bond.
    threshold : float, optional
        Lowest peak that is an atom [V], for atoms with a sigma of ``min_separation / 4``; by default from the data,
        see `automatic_threshold`.
    max_atoms : int, optional
        Keep only this many atoms, the strongest.
    within : callable, optional
        Of positions (n, 3) [Å], whether (n,) atoms are looked for there, such as `FieldOfView.holds`; everywhere by
        default.

    Raises
    ------
    ValueError
        If the potential is complex, not three-dimensional or holds values that are not finite.
    """
    if potential.ndim != 3 or np.iscomplexobj(potential) or not np.all(np.isfinite(potential)):
        raise ValueError(
            f"potential has shape {potential.shape} and dtype {potential.dtype}; expected finite real "
            "(z, y, x) values (of a complex potential, pass the real part)"
        )
    real = np.asarray(potential, np.result_type(potential, np.float32))
    filtered = band_pass(real, voxel_size, min_separation)
    noise = spread(filtered - np.median(filtered))
    positions, heights = _separated_maxima(filtered, voxel_size, min_separation, noise)
    if within is not None:
        positions, heights = (each[within(positions)] for each in (positions, heights))
    if threshold is None:
        threshold = automatic_threshold(heights, noise)
    kept = np.flatnonzero(heights > threshold)[:max_atoms]
    positions, heights = positions[kept], heights[kept]
    judged = peak_noise(filtered, voxel_size, min_separation)

    fits = fit_gaussians(real, voxel_size, positions, WINDOW_FRACTION * min_separation, max_move=min_separation / 2)
    integrated = (2 * np.pi) ** 1.5 * fits.height * fits.width.prod(axis=1)
    return TracedAtoms(
        positions=fits.centre,
        heights=fits.height,
        widths=fits.width,
        integrated_potential=integrated,
        standard_errors=fits.standard_error,
        threshold=float(threshold),
        peaks=heights,
        significance=heights / judged.sigma if judged.sigma > 0 else np.full(len(heights), np.inf),
        noise=judged,
    )


def strongest_peaks(
    potential: NDArray[np.floating], voxel_size: VoxelSize, min_separation: float, number: int
) -> NDArray[np.floating]:
    """Positions (n, 3) [Å] of the strongest peaks of the band-passed potential, atoms or not, to a voxel."""
    filtered = band_pass(np.asarray(potential, np.result_type(potential, np.float32)), voxel_size, min_separation)
    return _separated_maxima(filtered, voxel_size, min_separation, noise=0.0)[0][:number]


def band_pass(potential: NDArray[np.floating], voxel_size: VoxelSize, min_separation: float) -> NDArray[np.floating]:
    """Difference of Gaussian blurs by 1/5 and 2/5 of the separation; atoms with a sigma of 1/4 keep their height."""
    fine, coarse, atom = 0.2, 0.4, 0.25
    response = (1 + (fine / atom) ** 2) ** -1.5 - (1 + (coarse / atom) ** 2) ** -1.5

    def smooth(fraction: float) -> NDArray[np.floating]:
        sigma = [fraction * min_separation / size for size in voxel_size]
        return scipy.ndimage.gaussian_filter(potential, sigma, mode="nearest")

    difference = smooth(fine)
    difference -= smooth(coarse)
    difference /= response
    return difference


def automatic_threshold(heights: NDArray[np.floating], noise: float) -> float:
    """Height between spurious peaks and atoms: the lowest valley in the density of the logarithms of the heights.

    Spurious peaks become rarer with height; then the weakest element makes the density rise again. The valley is the
    lowest point after which the density doubles, above a floor of four standard deviations of the noise (from the
    median absolute deviation of the volume) and of 5 % of the fifth-highest peak. Where the density never rises
    (atoms and noise overlap), the result is Otsu's threshold of the logarithms; then look at the heights and choose
    a threshold yourself.
    """
    floor = _lowest_height(heights, noise)
    logs = np.log(heights[heights > 0.5 * floor])  # peaks just below the floor contribute to the density above it
    if len(logs) == 0 or logs.max() <= np.log(floor):
        return floor
    grid = np.arange(np.log(floor), logs.max() + LOG_HEIGHT_BANDWIDTH, LOG_HEIGHT_BANDWIDTH / 5)
    density = np.exp(-0.5 * ((grid[:, None] - logs) / LOG_HEIGHT_BANDWIDTH) ** 2).sum(axis=1)
    highest_above = np.maximum.accumulate(density[::-1])[::-1]
    doubled = density >= 2 * np.minimum.accumulate(density)
    risen = doubled & (density > 0.9) & (density > 0.05 * highest_above)  # at least one atom, and no single outlier
    if not risen.any():
        return max(floor, float(np.exp(_otsu_threshold(logs))))
    below = density[: np.argmax(risen)]
    outside_valley = np.flatnonzero(below > below.min() + 1e-3)
    first, last = 0, int(np.flatnonzero(below <= below.min() + 1e-3)[-1])
    if np.any(outside_valley < last):
        first = int(outside_valley[outside_valley < last][-1]) + 1
    return float(np.exp(grid[[first, last]].mean()))


def _lowest_height(heights: NDArray[np.floating], noise: float) -> float:
    """Height below which no peak is an atom."""
    strongest = np.sort(heights)[-5:]
    return max(NOISE_FACTOR * noise, WEAKEST_FRACTION * float(strongest.min(initial=np.inf)), 1e-30)


def _otsu_threshold(values: NDArray[np.floating]) -> float:
    """Value that splits the values into two classes with the largest variance between the classes."""
    values = np.sort(values)
    if len(values) < 2:
        return float(values[0]) - 1e-9
    count = np.arange(1, len(values))
    total = np.cumsum(values)
    mean_low, mean_high = total[:-1] / count, (total[-1] - total[:-1]) / (len(values) - count)
    split = int(np.argmax(count * (len(values) - count) * (mean_high - mean_low) ** 2))
    return float(0.5 * (values[split] + values[split + 1]))


def _separated_maxima(
    filtered: NDArray[np.floating], voxel_size: VoxelSize, min_separation: float, noise: float
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Positions (n, 3) [Å] and heights of local maxima, highest first, each the highest within the separation."""
    maxima = np.flatnonzero((scipy.ndimage.maximum_filter(filtered, 3) == filtered) & (filtered > 0))
    heights = filtered.reshape(-1)[maxima].astype(float)
    high = heights > 0.5 * _lowest_height(heights, noise)  # most of them are noise
    maxima, heights = maxima[high], heights[high]
    order = np.argsort(-heights, kind="stable")
    heights = heights[order]
    voxels = np.column_stack(np.unravel_index(maxima[order], filtered.shape))
    positions = voxels_to_positions(voxels, filtered.shape, voxel_size)  # type: ignore[arg-type]

    kept = np.ones(len(order), dtype=bool)
    if len(order):
        pairs = np.sort(KDTree(positions).query_pairs(min_separation, output_type="ndarray"), axis=-1)
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        for first in range(0, len(pairs), CHUNK):  # as Python's numbers, all of them would be as large as the volume
            for higher, lower in pairs[first : first + CHUNK].tolist():
                if kept[higher]:
                    kept[lower] = False
    return positions[kept], heights[kept]
