"""Planning of the grids: the probe window, the volume, the slices."""

import math

import numpy as np

from dptt.config import ConfigError
from dptt.config.reconstruction import VolumeConfig
from dptt.model.forward import Geometry
from dptt.physics.electron import wavelength

SLICES_PER_DEPTH_OF_FIELD = 5
"""[P] recommends slices slightly thinner than the probe's depth of field; its own data had 4.5 of them in it."""


def depth_of_field(energy: float, semiangle: float) -> float:
    """Return lambda / alpha² [Å] of a probe of convergence semi-angle `semiangle` [mrad]."""
    return wavelength(energy) / (1e-3 * semiangle) ** 2


def plan_geometry(
    volume: VolumeConfig,
    *,
    energy: float,
    semiangle: float,
    angular_sampling: tuple[float, float],
    detector_shape: tuple[int, int],
    positions: list[np.ndarray],
) -> Geometry:
    """Return the grids for a series: what `volume` leaves open is derived from beam, detector and scan.

    Parameters
    ----------
    angular_sampling
        Of the detector (ky, kx) [mrad].
    positions
        Scan positions (n, 2) of every tilt [Å].

    Raises
    ------
    ConfigError
        The slices that are asked for are thinner than a voxel.
    """
    window_size = [wavelength(energy) / (1e-3 * angle) for angle in angular_sampling]
    window = detector_shape
    if volume.voxel_size is not None:
        window = (
            max(1, round(window_size[0] / volume.voxel_size)),
            max(1, round(window_size[1] / volume.voxel_size)),
        )
    pixel = (window_size[0] / window[0], window_size[1] / window[1])
    depth_pixel = volume.voxel_size or min(pixel)
    if volume.shape is not None:
        lateral = (volume.shape[1], volume.shape[2])
    else:
        reach = np.abs(np.concatenate(positions)).max(0)
        lateral = tuple(  # type: ignore[assignment]
            2 * (math.ceil(r / d) + w // 2 + 1 + volume.margin) for r, d, w in zip(reach, pixel, window, strict=True)
        )
    if volume.shape is not None:
        depth = volume.shape[0] * depth_pixel
    else:
        depth = volume.thickness or max(n * d for n, d in zip(lateral, pixel, strict=True))
    num_slices = volume.num_slices
    if num_slices is None:
        thickness = volume.slice_thickness or depth_of_field(energy, semiangle) / SLICES_PER_DEPTH_OF_FIELD
        num_slices = max(1, round(depth / thickness) if volume.slice_thickness else math.ceil(depth / thickness))
    if volume.shape is not None:
        planes = volume.shape[0]
        if volume.num_slices is None:  # the nearest number that cuts the given planes equally, not fewer
            num_slices = next(n for n in range(min(num_slices, planes), planes + 1) if planes % n == 0)
    else:
        available = max(1, round(depth / depth_pixel))
        if volume.num_slices is None and volume.slice_thickness is None:
            num_slices = min(num_slices, available)
        if num_slices > available:
            raise ConfigError(
                f"volume: {num_slices} slices in a depth of {depth:.4g} Å are thinner than a voxel of "
                f"{depth_pixel:.4g} Å; expected at most {available}. Reduce volume.num_slices or "
                "volume.voxel_size, or increase volume.slice_thickness."
            )
        planes = max(1, round(depth / depth_pixel / num_slices)) * num_slices
    return Geometry(energy, (planes, *lateral), (depth_pixel, *pixel), window, num_slices)


def geometry_problems(
    geometry: Geometry,
    *,
    semiangle: float,
    angular_sampling: tuple[float, float],
    detector_shape: tuple[int, int],
    positions: list[np.ndarray],
    names: list[str],
    periodic: bool,
) -> list[str]:
    """Return what makes a reconstruction on these grids meaningless, as sentences; empty if nothing does."""
    problems = []
    largest = min(n // 2 * angle for n, angle in zip(detector_shape, angular_sampling, strict=True))
    in_pixels = semiangle / max(angular_sampling)
    if semiangle > largest:
        problems.append(
            f"semiangle_cutoff is {semiangle} mrad but the detector ends at {largest:.2f} mrad ({detector_shape} "
            f"pixels of {angular_sampling} mrad); the bright disk must fit. "
            "Check angular_sampling and semiangle_cutoff."
        )
    elif in_pixels < 2:
        problems.append(
            f"semiangle_cutoff of {semiangle} mrad is {in_pixels:.1f} detector pixels; expected 2 or more. "
            "Check angular_sampling (mrad per pixel) and semiangle_cutoff (mrad)."
        )
    finest = 1e3 * geometry.wavelength / (2 * max(geometry.sampling))
    if semiangle <= largest and semiangle > finest:
        problems.append(
            f"voxels of {max(geometry.sampling):.3g} Å hold angles up to {finest:.2f} mrad but semiangle_cutoff is "
            f"{semiangle} mrad; the bright disk must fit. Reduce volume.voxel_size."
        )
    (_, ny, nx), (wy, wx) = geometry.volume_shape, geometry.window_shape
    if wy > ny or wx > nx:
        problems.append(
            f"the volume is {ny} x {nx} voxels (y, x) but the probe window {wy} x {wx}; expected a volume of at "
            "least the window. Enlarge volume.shape or leave it out."
        )
    elif not periodic:
        for name, here in zip(names, positions, strict=True):
            corner = np.round(here / geometry.sampling) + [ny // 2 - wy // 2, nx // 2 - wx // 2]
            outside = (corner < 0).any(1) | (corner + [wy, wx] > [ny, nx]).any(1)
            if outside.any():
                problems.append(
                    f"tilt {name}: the probe window leaves the volume of {ny} x {nx} voxels at {outside.sum()} of "
                    f"{len(here)} scan positions (first: {np.flatnonzero(outside)[0]}). Enlarge volume.shape or "
                    "leave it out, or check that positions are in Å relative to the rotation axis."
                )
    return problems
