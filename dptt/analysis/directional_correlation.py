"""Fourier shell correlation by direction: the effect of a missing wedge on the resolution along any direction.

The curve of a direction uses the voxels of a double cone about it; ``k`` and ``-k`` belong to the same cone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dptt.analysis.correlation import Criterion, FourierShellCorrelation, Resolution, correlate_sectors
from dptt.analysis.grid import VoxelSize, check_volumes
from dptt.analysis.shells import Sector, nyquist_frequency, shell_width, unit_directions


@dataclass(frozen=True)
class DirectionalFourierShellCorrelation:
    """One FSC curve for each direction.

    Attributes
    ----------
    directions : array (n, 3)
        Unit vectors (z, y, x): the axes of the cones.
    half_angle : float
        Angle between axis and surface of each cone [degrees].
    curves : tuple
        FSC within each (double) cone.
    """

    directions: NDArray[np.floating]
    half_angle: float
    curves: tuple[FourierShellCorrelation, ...]

    def resolution(self, criterion: Criterion = "one-bit", min_voxels: int = 20) -> tuple[Resolution, ...]:
        """Resolution along each direction; a cone has fewer voxels than a shell, hence the smaller default."""
        return tuple(curve.resolution(criterion, min_voxels) for curve in self.curves)


def directional_fourier_shell_correlation(
    a: NDArray[np.number],
    b: NDArray[np.number],
    voxel_size: VoxelSize,
    directions: NDArray[np.floating],
    half_angle: float = 20.0,
    num_shells: int | None = None,
) -> DirectionalFourierShellCorrelation:
    """FSC within a double cone about each direction, up to the Nyquist frequency along that direction.

    Parameters
    ----------
    directions : array (n, 3)
        Cone axes (z, y, x) of any length; see `axis_directions`, `in_plane_directions` and `polar_directions`.
    half_angle : float
        Angle between axis and surface of the cone [degrees].
    """
    _, *cones = whole_and_directional_correlation(a, b, voxel_size, directions, half_angle, num_shells)
    return DirectionalFourierShellCorrelation(unit_directions(directions), half_angle, tuple(cones))


def whole_and_directional_correlation(
    a: NDArray[np.number],
    b: NDArray[np.number],
    voxel_size: VoxelSize,
    directions: NDArray[np.floating],
    half_angle: float = 20.0,
    num_shells: int | None = None,
) -> list[FourierShellCorrelation]:
    """FSC over all directions, then within a double cone about each of the `directions`, from one transform."""
    width = shell_width(check_volumes(a, b), voxel_size, num_shells)
    directions = unit_directions(directions)
    sectors: list[Sector | None] = [None, *(Sector.cone(direction, half_angle) for direction in directions)]
    nyquist = [nyquist_frequency(voxel_size, direction) for direction in (None, *directions)]
    return correlate_sectors(a, b, voxel_size, width=width, sectors=sectors, nyquist=nyquist)


def axis_directions() -> NDArray[np.floating]:
    """The directions z (beam), y (tilt axis) and x, in this order."""
    return np.eye(3)


def in_plane_directions(num_directions: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Angles [degrees] from +z to +x over 180°, and the directions (n, 3), in the plane across the tilt axis.

    A specimen tilted by ``theta`` about y is sampled along the angle ``90 - theta``; the missing wedge is the rest.
    """
    angles = np.arange(num_directions) * 180.0 / num_directions
    radians = np.radians(angles)
    return angles, np.stack([np.cos(radians), np.zeros(num_directions), np.sin(radians)], axis=1)


def polar_directions(num_directions: int) -> NDArray[np.floating]:
    """Directions (n, 3) evenly distributed over the half sphere z > 0, on a Fibonacci spiral about z."""
    index = np.arange(num_directions)
    z = 1 - (index + 0.5) / num_directions
    azimuth = index * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - z**2)
    return np.stack([z, radius * np.sin(azimuth), radius * np.cos(azimuth)], axis=1)
