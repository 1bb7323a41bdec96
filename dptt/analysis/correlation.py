"""Fourier shell correlation, and the resolution derived from it.

    FSC(k) = Re sum A conj(B) / sqrt(sum |A|² · sum |B|²)        sums over the voxels of shell k

Thresholds after van Heel & Schatz, J. Struct. Biol. 151 (2005) 250, which [P] uses: the FSC that two half data sets
reach when the whole carries ``b`` bits per voxel, so that each half has the signal-to-noise ratio
``SNR = (2^b - 1) / 2``:

    T(n) = (SNR + 2 sqrt(SNR) / sqrt(n) + 1 / sqrt(n)) / (SNR + 1 + 2 sqrt(SNR) / sqrt(n))

One bit: ``(0.5 + 2.4142/sqrt(n)) / (1.5 + 1.4142/sqrt(n))``. Here ``n`` is the *effective* number of voxels of the
shell, ``n = n_shell · (3/2 · D/L)² / (2 · symmetry)``: the 2 because ``k`` and ``-k`` of a real volume repeat each
other (a complex volume has no such pairs and no 2), D/L because an object of diameter D in a box of edge L correlates
neighbouring voxels. The extent factor is at most one, because no voxel counts more than once. Many programs omit the
2 and set ``n`` to the number of all voxels, which gives a slightly lower curve.

Which threshold: two half sets, each with the signal-to-noise ratio SNR, have FSC = SNR / (1 + SNR); a volume and the
noise-free truth have sqrt(SNR / (1 + SNR)). So one-bit, which tends to 1/3, is for two half sets, and so is 0.143.
0.5 is for a reconstruction against the truth; it requires the same SNR = 1/3 of all data as 0.143 does of half sets.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dptt.analysis.grid import Shape, VoxelSize, check_volumes, coordinate_axes
from dptt.analysis.shells import (
    Sector,
    count_shells,
    nyquist_frequency,
    shell_width,
    sum_over_shells,
)

Criterion = float | str
"""A fixed threshold (0.5, 0.143) or the name of an information curve: "one-bit" or "half-bit"."""

INFORMATION_BITS = {"one-bit": 1.0, "half-bit": 0.5}


@dataclass(frozen=True)
class Resolution:
    """Full-period resolution [Å]; infinite where nothing is resolved.

    Attributes
    ----------
    full_period : float
        Reciprocal of the frequency of the first crossing [Å].
    at_nyquist : bool
        The curve never falls below the threshold: the voxel size limits the resolution.
    """

    full_period: float
    at_nyquist: bool


@dataclass(frozen=True)
class FourierShellCorrelation:
    """One FSC curve.

    Attributes
    ----------
    frequency : array (shells,)
        Centre of each shell [1/Å].
    correlation : array (shells,)
        Between -1 and 1; zero where a shell has no voxels or no power.
    num_voxels : array (shells,)
        Number of voxels in the shell.
    num_independent : array (shells,)
        Number of voxels without their Friedel mates.
    nyquist : float
        Highest frequency sampled [1/Å].
    """

    frequency: NDArray[np.floating]
    correlation: NDArray[np.floating]
    num_voxels: NDArray[np.int64]
    num_independent: NDArray[np.floating]
    nyquist: float

    def threshold(
        self, criterion: Criterion, object_fraction: float = 2 / 3, symmetry: int = 1
    ) -> NDArray[np.floating]:
        """Value of the threshold in every shell.

        Parameters
        ----------
        object_fraction : float
            D/L, diameter of the object over edge of the box; from 2/3 on all voxels count.
        symmetry : int
            Number of asymmetric units that were averaged.
        """
        if not isinstance(criterion, str):
            return np.full(len(self.frequency), float(criterion))
        if criterion not in INFORMATION_BITS:
            raise ValueError(f"criterion is {criterion!r}; expected a number, 'one-bit' or 'half-bit'")
        extent_factor = min((1.5 * object_fraction) ** 2, 1.0)
        num_effective = self.num_independent * extent_factor / symmetry
        return information_threshold(num_effective, INFORMATION_BITS[criterion])

    def beyond(self, frequency: float) -> "FourierShellCorrelation":
        """Return the curve from a `frequency` [1/Å] on."""
        kept = self.frequency >= frequency
        return FourierShellCorrelation(
            frequency=self.frequency[kept],
            correlation=self.correlation[kept],
            num_voxels=self.num_voxels[kept],
            num_independent=self.num_independent[kept],
            nyquist=self.nyquist,
        )

    def resolution(
        self,
        criterion: Criterion = "one-bit",
        min_voxels: int = 50,
        object_fraction: float = 2 / 3,
        symmetry: int = 1,
    ) -> Resolution:
        """Resolution where the curve first falls below the threshold, linear between shells.

        Shells of fewer than ``min_voxels`` voxels are skipped (the innermost three of a cube, more in a cone): a
        handful of voxels drops below any threshold by chance. If the first remaining shell is already below the
        threshold, nothing is resolved.

        Raises
        ------
        ValueError
            If no shell has ``min_voxels`` voxels.
        """
        counted = self.num_voxels >= min_voxels
        if not counted.any():
            raise ValueError(
                f"no shell has {min_voxels} voxels, the largest has {self.num_voxels.max()}; lower min_voxels, "
                "or use fewer shells or a wider cone"
            )
        frequency = self.frequency[counted]
        margin = (self.correlation - self.threshold(criterion, object_fraction, symmetry))[counted]
        below = np.flatnonzero(margin < 0)
        if len(below) == 0:
            return Resolution(1 / self.nyquist, at_nyquist=True)
        first = below[0]
        if first == 0:
            return Resolution(float("inf"), at_nyquist=False)
        step = margin[first - 1] / (margin[first - 1] - margin[first])
        crossing = frequency[first - 1] + step * (frequency[first] - frequency[first - 1])
        return Resolution(float(1 / crossing), at_nyquist=False)


def information_threshold(num_effective: NDArray[np.floating], bits: float) -> NDArray[np.floating]:
    """FSC at which two half sets together carry ``bits`` of information per voxel (van Heel & Schatz 2005)."""
    snr = (2.0**bits - 1) / 2
    root_n = np.sqrt(num_effective)  # numerator and denominator times sqrt(n): no division by zero in an empty shell
    return (snr * root_n + 2 * np.sqrt(snr) + 1) / ((snr + 1) * root_n + 2 * np.sqrt(snr))


def fourier_shell_correlation(
    a: NDArray[np.number], b: NDArray[np.number], voxel_size: VoxelSize, num_shells: int | None = None
) -> FourierShellCorrelation:
    """FSC of two volumes (z, y, x), real or complex, from zero to the Nyquist frequency of the largest voxel edge.

    Parameters
    ----------
    voxel_size : tuple
        (z, y, x) [Å].
    num_shells : int, optional
        Number of shells from zero to Nyquist; by default each is one Fourier voxel wide.
    """
    width = shell_width(check_volumes(a, b), voxel_size, num_shells)
    nyquist = [nyquist_frequency(voxel_size)]
    return correlate_sectors(a, b, voxel_size, width=width, sectors=[None], nyquist=nyquist)[0]


def soft_mask(
    shape: Shape,
    voxel_size: VoxelSize,
    radius: float,
    edge: float,
    cylinder_axis: Literal["z", "y", "x"] | None = None,
) -> NDArray[np.floating]:
    """Mask: one within ``radius`` of the centre, zero beyond ``radius + edge``, half a cosine between; lengths in Å.

    It is a sphere, or an infinite cylinder along ``cylinder_axis`` (the tilt axis is y).
    """
    return np.stack(list(soft_mask_planes(shape, voxel_size, radius, edge, cylinder_axis)))


def soft_mask_planes(
    shape: Shape,
    voxel_size: VoxelSize,
    radius: float,
    edge: float,
    cylinder_axis: Literal["z", "y", "x"] | None = None,
) -> Iterator[NDArray[np.floating]]:
    """Yield the planes (y, x) of `soft_mask` one after the other along z."""
    z, y, x = coordinate_axes(shape, voxel_size)
    along = {"z": z**2, "y": y[:, None] ** 2, "x": x**2}
    if cylinder_axis is not None:
        along[cylinder_axis] = np.zeros_like(along[cylinder_axis])
    for square in along["z"]:
        distance = np.sqrt(square + along["y"] + along["x"])
        if edge == 0:
            yield (distance <= radius).astype(float)
        else:
            yield 0.5 * (1 + np.cos(np.pi * np.clip((distance - radius) / edge, 0, 1)))


def correlate_sectors(
    a: NDArray[np.number],
    b: NDArray[np.number],
    voxel_size: VoxelSize,
    *,
    width: float,
    sectors: list[Sector | None],
    nyquist: list[float],
) -> list[FourierShellCorrelation]:
    """FSC in each sector of Fourier space, in shells of a width [1/Å], up to the sector's Nyquist frequency [1/Å]."""
    check_volumes(a, b)
    num_shells = count_shells(width, max(nyquist))
    sums, counts = sum_over_shells(
        _densities, (a, b), voxel_size, width=width, num_shells=num_shells, sectors=sectors
    )
    complex_input = np.iscomplexobj(a) or np.iscomplexobj(b)
    curves = []
    for (cross, power_a, power_b), count, limit in zip(sums, counts, nyquist, strict=True):
        kept = count_shells(width, limit)
        norm = np.sqrt(power_a * power_b)
        correlation = np.divide(cross, norm, out=np.zeros(num_shells), where=norm > 0)
        independent = count / (1 if complex_input else 2)
        frequency = np.arange(kept) * width
        curves.append(FourierShellCorrelation(frequency, correlation[:kept], count[:kept], independent[:kept], limit))
    return curves


def _densities(
    a: NDArray[np.complexfloating], b: NDArray[np.complexfloating]
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """Cross-spectrum and powers of one plane of Fourier space."""
    return a.real * b.real + a.imag * b.imag, a.real**2 + a.imag**2, b.real**2 + b.imag**2
