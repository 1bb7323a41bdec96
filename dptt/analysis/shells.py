"""Sums over shells of Fourier space, complete or within a cone: the loop that FSC and power spectrum share.

Shell ``i`` is centred on the frequency ``i * width`` [1/Å] and holds the voxels with ``round(|k| / width) == i``.
Frequencies are in physical units, so anisotropic voxels, odd sizes and boxes of any shape need no special case. The
loop goes plane by plane along ``kz`` and needs no index array of the volume's size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
        self, kz: float, ky: NDArray[np.floating], kx: NDArray[np.floating], length: NDArray[np.floating]
    ) -> NDArray[np.bool_]:
        """Which voxels (y, x) of one ``kz`` plane belong to the sector; zero frequency belongs to no sector."""
        projection = np.abs(self.axis[0] * kz + self.axis[1] * ky[:, None] + self.axis[2] * kx)
        slack = 1e-9 * length  # a direction on the edge is inside in spite of rounding
        return (
            (projection >= self.min_cosine * length - slack)
            & (projection <= self.max_cosine * length + slack)
            & (length > 0)
        )


def sum_over_shells(
    plane_densities: Callable[[int], Sequence[NDArray[np.floating]]],
    shape: Shape,
    voxel_size: VoxelSize,
    *,
    width: float,
    num_shells: int,
    sectors: Sequence[Sector | None] = (None,),
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Sums (sector, density, shell) of Fourier-space densities, and voxel counts (sector, shell).

    Parameters
    ----------
    plane_densities : callable
        Returns, for the index of a ``kz`` plane in FFT order, the densities (y, x) to sum.
    sectors : sequence
        Sectors of Fourier space; None is all of it.
    """
    kz, ky, kx = frequency_axes(shape, voxel_size)
    num_densities = len(plane_densities(0))
    sums = np.zeros((len(sectors), num_densities, num_shells))
    counts = np.zeros((len(sectors), num_shells), dtype=np.int64)
    for plane, k in enumerate(kz):
        length = np.sqrt(k**2 + ky[:, None] ** 2 + kx**2)
        shell = np.rint(length / width).astype(np.intp)
        inside = shell < num_shells
        if not inside.any():
            continue
        densities = plane_densities(plane)
        for s, sector in enumerate(sectors):
            selected = inside if sector is None else inside & sector.contains(float(k), ky, kx, length)
            index = shell[selected]
            counts[s] += np.bincount(index, minlength=num_shells)
            for d, density in enumerate(densities):
                sums[s, d] += np.bincount(index, density[selected], minlength=num_shells)
    return sums, counts
