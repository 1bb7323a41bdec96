"""Sums over shells of Fourier space, complete or within a cone: the loop that FSC and power spectrum share.

Shell ``i`` is centred on the frequency ``i * width`` [1/Å] and holds the voxels with ``round(|k| / width) == i``.
Frequencies are in physical units, so anisotropic voxels, odd sizes and boxes of any shape need no special case. The
loop goes plane by plane along ``kx`` and needs neither an index array nor a spectrum of the volume's size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dptt.analysis.fourier_planes import fourier_planes, is_half
from dptt.analysis.grid import Shape, VoxelSize, frequency_axes


def unit_directions(directions: NDArray[np.floating]) -> NDArray[np.floating]:
    """Directions (n, 3), in (z, y, x) order, scaled to length one."""
    directions = np.atleast_2d(np.asarray(directions, dtype=float))
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    if directions.shape[1] != 3 or not np.all(lengths > 0):
        raise ValueError(f"directions has shape {directions.shape}; expected (n, 3) non-zero (z, y, x) vectors")
    return directions / lengths


def nyquist_frequency(voxel_size: VoxelSize, direction: NDArray[np.floating] | None = None) -> float:
    """Highest frequency [1/Å] sampled in all directions, or along one unit direction.

    Along a direction it lies on the ellipsoid through the Nyquist frequencies of the axes. The ellipsoid is inside
    the sampled box everywhere, and a sphere for cubic voxels.
    """
    if direction is None:
        return 0.5 / max(voxel_size)
    return 0.5 / float(np.linalg.norm(np.asarray(direction) * np.asarray(voxel_size)))


def shell_width(shape: Shape, voxel_size: VoxelSize, num_shells: int | None = None) -> float:
    """Width [1/Å] of a shell: ``num_shells`` centres from zero to Nyquist, or one per Fourier voxel.

    The default is the cube root of the Fourier voxel's volume: shell ``i`` holds about ``4 pi i²`` voxels in a box of
    any shape, and in a cube a shell is one Fourier voxel wide, as usual.
    """
    if num_shells is None:
        return float(np.prod(np.multiply(shape, voxel_size)) ** (-1 / 3))
    if num_shells < 2:
        raise ValueError(f"num_shells is {num_shells}; expected at least 2")
    return nyquist_frequency(voxel_size) / (num_shells - 1)


def count_shells(width: float, nyquist: float) -> int:
    """Number of shells centred at or below the Nyquist frequency, including the zeroth."""
    return int(np.floor(nyquist / width + 1e-6)) + 1


@dataclass(frozen=True)
class Sector:
    """Directions in Fourier space whose angle to an axis lies in a range; ``k`` and ``-k`` belong together.

    Attributes
    ----------
    axis : array (3,)
        Unit vector (z, y, x).
    min_cosine, max_cosine : float
        Range of ``|cos(angle)|`` between ``k`` and the axis.
    """

    axis: NDArray[np.floating]
    min_cosine: float
    max_cosine: float

    @staticmethod
    def cone(axis: NDArray[np.floating], half_angle: float) -> "Sector":
        """All directions within ``half_angle`` [degrees] of an axis."""
        return Sector(unit_directions(axis)[0], float(np.cos(np.radians(half_angle))), 1.0)

    @staticmethod
    def band(normal: NDArray[np.floating], half_angle: float) -> "Sector":
        """All directions within ``half_angle`` [degrees] of the plane that has this normal."""
        return Sector(unit_directions(normal)[0], 0.0, float(np.sin(np.radians(half_angle))))

    def contains(
        self, kz: NDArray[np.floating], ky: NDArray[np.floating], kx: float, length: NDArray[np.floating]
    ) -> NDArray[np.bool_]:
        """Which voxels (z, y) of one ``kx`` plane belong to the sector; zero frequency belongs to no sector."""
        projection = np.abs(self.axis[0] * kz[:, None] + self.axis[1] * ky + self.axis[2] * kx)
        slack = 1e-9 * length  # a direction on the edge is inside in spite of rounding
        return (
            (projection >= self.min_cosine * length - slack)
            & (projection <= self.max_cosine * length + slack)
            & (length > 0)
        )


def sum_over_shells(
    densities: Callable[..., Sequence[NDArray[np.floating]]],
    volumes: Sequence[NDArray[np.number]],
    voxel_size: VoxelSize,
    *,
    width: float,
    num_shells: int,
    sectors: Sequence[Sector | None] = (None,),
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Sums (sector, density, shell) of Fourier-space densities, and voxel counts (sector, shell).

    Parameters
    ----------
    densities : callable
        Returns the densities (z, y) to sum from planes of the transforms, one of each volume. They must be the same
        for conjugate planes.
    volumes : sequence
        Arrays (z, y, x) of one shape.
    sectors : sequence
        Sectors of Fourier space; None is all of it.
    """
    shape: Shape = volumes[0].shape  # type: ignore[assignment]
    kz, ky, kx = frequency_axes(shape, voxel_size)
    squared, half = kz[:, None] ** 2 + ky**2, is_half(volumes)
    sums: dict[tuple[int, int], NDArray[np.floating]] = {}
    counts = np.zeros((len(sectors), num_shells), dtype=np.int64)
    for plane, spectra in fourier_planes(volumes):
        length = np.sqrt(squared + kx[plane] ** 2)
        shell = np.rint(length / width).astype(np.intp)
        inside = shell < num_shells
        if not inside.any():
            continue
        has_twin = half and 0 < plane < shape[2] - plane
        values = densities(*spectra)
        for s, sector in enumerate(sectors):
            for selected, times in _selections(inside, sector, (kz, ky, float(kx[plane])), length, has_twin):
                index = shell[selected]
                counts[s] += times * np.bincount(index, minlength=num_shells)
                for d, density in enumerate(values):
                    total = sums.setdefault((s, d), np.zeros(num_shells))
                    total += times * np.bincount(index, density[selected], minlength=num_shells)
    number = len(sums) // max(len(sectors), 1)
    return np.array([[sums[s, d] for d in range(number)] for s in range(len(sectors))]), counts


def _selections(
    inside: NDArray[np.bool_],
    sector: Sector | None,
    frequencies: tuple[NDArray[np.floating], NDArray[np.floating], float],
    length: NDArray[np.floating],
    has_twin: bool,
) -> list[tuple[NDArray[np.bool_], int]]:
    """Which voxels of a plane count, and how often; if the plane has a twin at ``-kx``, that is counted with it.

    The voxel (-kz, -ky, -kx) has the same density. Only at the Nyquist frequency, which has one sign, may an oblique
    sector hold one of the two and not the other.
    """
    if sector is None:
        return [(inside, 2 if has_twin else 1)]
    kz, ky, kx = frequencies
    selected = inside & sector.contains(kz, ky, kx, length)
    if not has_twin:
        return [(selected, 1)]
    twin = inside & sector.contains(-np.roll(kz[::-1], 1), -np.roll(ky[::-1], 1), kx, length)
    return [(selected, 2)] if np.array_equal(selected, twin) else [(selected, 1), (twin, 1)]
