"""The grid of a volume: shapes, voxel sizes, and coordinates of voxels in real and in Fourier space."""

import numpy as np
from numpy.typing import NDArray

VoxelSize = tuple[float, float, float]
"""Edge lengths (z, y, x) of a voxel [Å]."""

Shape = tuple[int, int, int]
"""Number of voxels (z, y, x)."""

SLAB_VOXELS = 2**18
"""Voxels that are worked on at a time where several arrays are needed of each; at least one plane."""


def slabs(shape: tuple[int, ...]) -> list[slice]:
    """Return the planes along z of a volume in slabs of about `SLAB_VOXELS`."""
    step = max(1, SLAB_VOXELS // max(shape[1] * shape[2], 1))
    return [slice(first, min(first + step, shape[0])) for first in range(0, shape[0], step)]


def frequency_axes(shape: Shape, voxel_size: VoxelSize) -> tuple[NDArray[np.floating], ...]:
    """Frequencies [1/Å] along z, y, x, in FFT order."""
    return tuple(np.fft.fftfreq(n, size) for n, size in zip(shape, voxel_size, strict=True))


def coordinate_axes(shape: Shape, voxel_size: VoxelSize) -> tuple[NDArray[np.floating], ...]:
    """Coordinates [Å] along z, y, x; zero at voxel ``n // 2``."""
    return tuple((np.arange(n) - n // 2) * size for n, size in zip(shape, voxel_size, strict=True))


def check_volumes(a: NDArray[np.number], b: NDArray[np.number]) -> Shape:
    """Common shape of two volumes.

    Raises
    ------
    ValueError
        If the shapes differ or are not three-dimensional.
    """
    if a.ndim != 3 or a.shape != b.shape:
        raise ValueError(
            f"volumes have shapes {a.shape} and {b.shape}; expected two equal (z, y, x) shapes "
            "(resample_volume brings one onto the grid of the other)"
        )
    return a.shape  # type: ignore[return-value]


def positions_to_voxels(positions: NDArray[np.floating], shape: Shape, voxel_size: VoxelSize) -> NDArray[np.floating]:
    """Fractional voxel indices (n, 3) of positions (n, 3) [Å], both in (z, y, x) order."""
    return np.asarray(positions) / voxel_size + [n // 2 for n in shape]


def voxels_to_positions(voxels: NDArray[np.number], shape: Shape, voxel_size: VoxelSize) -> NDArray[np.floating]:
    """Positions (n, 3) [Å] of fractional voxel indices (n, 3), both in (z, y, x) order."""
    return (np.asarray(voxels) - [n // 2 for n in shape]) * voxel_size
