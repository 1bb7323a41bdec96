"""Two volumes from independent halves of the data: what both hold is specimen, their difference is noise.

A mask, and constraints that act like one (vacuum set to zero), make even volumes of pure noise correlate. Phases
beyond a frequency are therefore randomised in both volumes, mask and constraint applied again, and the correlation
that is left is taken out of the curve (Chen et al., Ultramicroscopy 135 (2013) 24):

    FSC_corrected = (FSC - FSC_randomised) / (1 - FSC_randomised)

What both halves share that is no specimen, such as streaks of a missing wedge, is in neither the difference nor the
correction.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.fft
import scipy.ndimage
from numpy.typing import NDArray

from dptt.analysis.atoms import band_pass
from dptt.analysis.correlation import FourierShellCorrelation, fourier_shell_correlation
from dptt.analysis.directional_correlation import whole_and_directional_correlation
from dptt.analysis.grid import VoxelSize, frequency_axes, positions_to_voxels

RANDOMISED_BELOW = 0.8
"""Phases are randomised from the frequency on at which the FSC first falls below this, as is usual."""
SHELLS_OF_TRANSITION = 2
"""Shells next to that frequency, in which the curve is not corrected: a mask leaks from one shell into the next."""
NEIGHBOURHOOD = 1.5
"""Standard deviation, in separations of peaks, of the surroundings in which the noise of a peak is measured."""

Volume = NDArray[np.floating]
Constraint = Callable[[Volume], Volume]
"""What was done to both volumes and makes them alike: a mask, and the constraints of the reconstruction."""


@dataclass(frozen=True)
class HalfSetCorrelation:
    """FSC of two half-sets.

    Attributes
    ----------
    corrected : FourierShellCorrelation
        Without what mask and constraint alone make correlate.
    measured, randomised : array (shells,)
        FSC of the volumes, and of the volumes with randomised phases.
    randomised_from : float
        Frequency from which on phases were randomised [1/Å]; infinite if the curve never falls so low.
    """

    corrected: FourierShellCorrelation
    measured: NDArray[np.floating]
    randomised: NDArray[np.floating]
    randomised_from: float


def half_set_correlations(
    first: Volume, second: Volume, voxel_size: VoxelSize, constraint: Constraint, directions: NDArray[np.floating]
) -> list[HalfSetCorrelation]:
    """FSC of two real half-sets (z, y, x), which must be registered, corrected for a constraint that both obey.

    Parameters
    ----------
    constraint
        Applied to both volumes before they are correlated, and again after their phases were randomised.
    directions
        (n, 3), axes (z, y, x) of cones.

    Returns
    -------
    list
        Over all directions, then within the cone about each of the `directions`. Phases are randomised from the same
        frequency on in all of them.
    """
    measured = _curves(constraint(first), constraint(second), voxel_size, directions)
    start = randomisation_start(measured[0])
    if not np.isfinite(start):
        return [HalfSetCorrelation(c, c.correlation, np.zeros_like(c.correlation), start) for c in measured]
    random_first, random_second = (
        constraint(randomise_phases(volume, voxel_size, start, seed)) for seed, volume in enumerate((first, second))
    )
    chance = _curves(random_first, random_second, voxel_size, directions)
    return [
        _corrected(curve, by_chance.correlation, start) for curve, by_chance in zip(measured, chance, strict=True)
    ]


def _curves(
    a: Volume, b: Volume, voxel_size: VoxelSize, directions: NDArray[np.floating]
) -> list[FourierShellCorrelation]:
    if not len(directions):
        return [fourier_shell_correlation(a, b, voxel_size)]
    return whole_and_directional_correlation(a, b, voxel_size, directions)


def _corrected(
    measured: FourierShellCorrelation, randomised: NDArray[np.floating], start: float
) -> HalfSetCorrelation:
    width = measured.frequency[1] - measured.frequency[0] if len(measured.frequency) > 1 else 0.0
    beyond = measured.frequency > start + SHELLS_OF_TRANSITION * width
    taken_out = np.clip(randomised, 0.0, 1 - 1e-6)
    corrected = np.where(beyond, (measured.correlation - taken_out) / (1 - taken_out), measured.correlation)
    return HalfSetCorrelation(replace(measured, correlation=corrected), measured.correlation, randomised, start)


def randomisation_start(curve: FourierShellCorrelation, min_voxels: int = 50) -> float:
    """Frequency [1/Å] at which a curve first falls below `RANDOMISED_BELOW`; infinite if it never does."""
    low = np.flatnonzero((curve.correlation < RANDOMISED_BELOW) & (curve.num_voxels >= min_voxels))
    return float(curve.frequency[low[0]]) if len(low) else float("inf")


def randomise_phases(volume: Volume, voxel_size: VoxelSize, start: float, seed: int) -> Volume:
    """Return a real volume (z, y, x) with random phases at frequencies from `start` [1/Å] on; amplitudes stay."""
    z_axis, y_axis, _ = frequency_axes(volume.shape, voxel_size)  # type: ignore[arg-type]
    x_axis = scipy.fft.rfftfreq(volume.shape[2], voxel_size[2])
    noise = _transform_of_noise(volume.shape, volume.dtype, seed)
    spectrum = scipy.fft.rfftn(volume)
    for i, z in enumerate(z_axis):
        high = z**2 + y_axis[:, None] ** 2 + x_axis**2 >= start**2
        spectrum[i][high] = np.abs(spectrum[i][high]) * np.exp(1j * np.angle(noise[i][high]))
    del noise
    spectrum = scipy.fft.ifftn(spectrum, axes=(0, 1), overwrite_x=True)
    return np.asarray(scipy.fft.irfft(spectrum, volume.shape[2], overwrite_x=True))


def _transform_of_noise(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int) -> NDArray[np.complexfloating]:
    """Return the transform of real noise, so that its phases at k and -k are opposite."""
    generator = np.random.default_rng(seed)
    noise = np.empty(shape, dtype)
    for plane in noise:  # drawn in double precision, whatever that of the volume is
        plane[...] = generator.standard_normal(shape[1:])
    return np.asarray(scipy.fft.rfftn(noise))


def peak_noise_of_half_sets(
    first: Volume, second: Volume, voxel_size: VoxelSize, positions: NDArray[np.floating], min_separation: float
) -> NDArray[np.floating]:
    """Standard deviation (n,) [V] of the noise of the band-passed volume of all data around each position (n, 3) [Å].

    That of half of the difference, since the mean of two halves and half of their difference have the same noise.
    """
    difference = first - second
    difference /= 2
    variance = band_pass(difference, voxel_size, min_separation)
    np.square(variance, out=variance)
    blur = [NEIGHBOURHOOD * min_separation / size for size in voxel_size]
    scipy.ndimage.gaussian_filter(variance, blur, output=variance, mode="nearest")
    voxels = np.rint(positions_to_voxels(positions, variance.shape, voxel_size)).astype(int)  # type: ignore[arg-type]
    voxels = np.clip(voxels, 0, np.array(variance.shape) - 1)
    return np.asarray(np.sqrt(np.maximum(variance[tuple(voxels.T)], 0.0)), dtype=np.float64)
