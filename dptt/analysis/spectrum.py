"""Radial power spectrum of a volume, over all directions or by direction, as in [P] figure 3(d).

The Fourier transform is ``F(k) = sum V(r) exp(-2 pi i k·r) dV`` [V·Å³]. The *mean* power of a shell shows Bragg peaks
above a background. The *integrated* power, its integral over the shell per unit frequency, is the contribution of
each frequency to ``sum |V|² dV`` (Parseval).
"""

from dataclasses import dataclass

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from dptt.analysis.grid import Shape, VoxelSize
from dptt.analysis.shells import (
    Sector,
    count_shells,
    nyquist_frequency,
    shell_width,
    sum_over_shells,
)

BEAM_DIRECTION = np.array([1.0, 0.0, 0.0])


@dataclass(frozen=True)
class PowerSpectrum:
    """Power by spatial frequency.

    Attributes
    ----------
    frequency : array (shells,)
        Centre of each shell [1/Å].
    mean_power : array (shells,)
        Mean of ``|F|²`` over the shell [V²·Å⁶]; zero where a shell has no voxel.
    integrated_power : array (shells,)
        Integral of ``|F|²`` over the shell, per frequency [V²·Å⁴]; times the shell width it sums to ``sum |V|² dV``.
    num_voxels : array (shells,)
        Number of voxels in the shell.
    """

    frequency: NDArray[np.floating]
    mean_power: NDArray[np.floating]
    integrated_power: NDArray[np.floating]
    num_voxels: NDArray[np.int64]


@dataclass(frozen=True)
class DirectionalPowerSpectra:
    """Spectra within a double cone along the beam, and within a band about the plane perpendicular to it.

    Their ratio shows the missing wedge, which empties the cone but not the band.
    """

    half_angle: float
    beam: PowerSpectrum
    in_plane: PowerSpectrum


def power_spectrum(volume: NDArray[np.number], voxel_size: VoxelSize, num_shells: int | None = None) -> PowerSpectrum:
    """Power spectrum of a volume (z, y, x), real or complex, over complete shells up to Nyquist."""
    return _spectra(volume, voxel_size, num_shells, [None])[0]


def directional_power_spectra(
    volume: NDArray[np.number],
    voxel_size: VoxelSize,
    half_angle: float = 30.0,
    num_shells: int | None = None,
) -> DirectionalPowerSpectra:
    """Power within ``half_angle`` [degrees] of the beam direction z, and within as much of the (y, x) plane."""
    sectors = [Sector.cone(BEAM_DIRECTION, half_angle), Sector.band(BEAM_DIRECTION, half_angle)]
    beam, in_plane = _spectra(volume, voxel_size, num_shells, list(sectors))
    return DirectionalPowerSpectra(half_angle, beam, in_plane)


def spectral_peaks(spectrum: PowerSpectrum, prominence: float = 0.1) -> NDArray[np.floating]:
    """Lattice spacings [Å], largest first, of the peaks of the mean power.

    Parameters
    ----------
    prominence : float
        Minimum height of a peak above the higher of its two valleys [decades].
    """
    filled = (spectrum.num_voxels > 0) & (spectrum.mean_power > 0) & (spectrum.frequency > 0)
    frequency, log_power = spectrum.frequency[filled], np.log10(spectrum.mean_power[filled])
    peaks, _ = scipy.signal.find_peaks(log_power, prominence=prominence)
    left, top, right = log_power[peaks - 1], log_power[peaks], log_power[peaks + 1]
    offset = 0.5 * (left - right) / (left - 2 * top + right)  # vertex of the parabola through three shells
    return 1 / (frequency[peaks] + offset * (frequency[1] - frequency[0]))


def _spectra(
    volume: NDArray[np.number], voxel_size: VoxelSize, num_shells: int | None, sectors: list[Sector | None]
) -> list[PowerSpectrum]:
    if volume.ndim != 3:
        raise ValueError(f"volume has shape {volume.shape}; expected (z, y, x)")
    shape: Shape = volume.shape  # type: ignore[assignment]
    voxel_volume = float(np.prod(voxel_size))
    fourier_voxel_volume = 1 / (voxel_volume * volume.size)

    width = shell_width(shape, voxel_size, num_shells)
    num = count_shells(width, nyquist_frequency(voxel_size))
    sums, counts = sum_over_shells(
        lambda plane: ((plane.real**2 + plane.imag**2) * voxel_volume**2,),
        (volume,),
        voxel_size,
        width=width,
        num_shells=num,
        sectors=sectors,
    )
    frequency = np.arange(num) * width
    return [
        PowerSpectrum(frequency, power / np.maximum(count, 1), power * fourier_voxel_volume / width, count)
        for (power,), count in zip(sums, counts, strict=True)
    ]
