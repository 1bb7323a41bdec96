"""Planning of the grids: the probe window, the volume, the slices; and what makes grids useless."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from dptt.assembly.padding import padded
from dptt.config import ConfigError
from dptt.config.reconstruction import VolumeConfig
from dptt.model.forward import Geometry
from dptt.physics.electron import wavelength

SLICES_PER_DEPTH_OF_FIELD = 5.0
"""Of the volume of all tilts, which is resolved in depth as finely as laterally. [P] recommends slices slightly
thinner than the probe's depth of field; its own data had 4.5 of them in it."""
SLICES_PER_DEPTH_OF_FIELD_OF_ONE_TILT = 2.5
"""Of the ptychography of one tilt: its slices are summed to one projection, and one tilt alone resolves no
more in depth. Half as many suffice."""
HIGHEST_TILT_OF_A_FILM = 80.0
"""[degrees] Of an extended specimen; beyond, the beam runs along it and no volume holds its path."""
MOST_SLICES, THINNEST_SLICE = 10_000, 0.01
"""Of the waves of one tilt; [Å]."""
MOST_VOXELS = 1e15
"""4 PB."""
FEWEST_PIXELS_OF_DISK = 2
"""Detector pixels in the radius of the bright disk."""
SMALL_DETECTOR, FINER = 1.4, 1.5
"""A detector that reaches less far, in semi-angles of the probe, cuts off much of what is scattered: then voxels are
so much finer than its pixels allow, for waves and potential beyond it (`docs/experiment.md`)."""


def depth_of_field(energy: float, semiangle: float) -> float:
    """Return lambda / alpha² [Å] of a probe of convergence semi-angle `semiangle` [mrad]."""
    return wavelength(energy) / (1e-3 * semiangle) ** 2


@dataclass(frozen=True)
class Experiment:
    """Beam, detector and scan of a series: what determines its grids."""

    energy: float
    """Beam energy [eV]."""
    semiangle: float
    """Convergence semi-angle [mrad]."""
    angular_sampling: tuple[float, float]
    """Angle between detector pixels (ky, kx) [mrad]."""
    detector_shape: tuple[int, int]
    """Pixels (ky, kx)."""
    positions: Mapping[str, np.ndarray]
    """Scan positions (n, 2) [Å] of every tilt, by its name."""
    euler_angles: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    """(phi, theta, psi) [degrees] of every tilt, by its name; needed for an extended specimen."""

    @property
    def depth_of_field(self) -> float:
        """Depth of field of the probe [Å]."""
        return depth_of_field(self.energy, self.semiangle)

    @property
    def window_size(self) -> tuple[float, float]:
        """Size (y, x) [Å] of the probe window that the detector's angular sampling allows."""
        y, x = (wavelength(self.energy) / (1e-3 * angle) for angle in self.angular_sampling)
        return y, x

    @property
    def largest_angle(self) -> float:
        """Scattering angle [mrad] at the nearest edge of the detector."""
        return min(n // 2 * angle for n, angle in zip(self.detector_shape, self.angular_sampling, strict=True))


def plan_geometry(volume: VolumeConfig, experiment: Experiment) -> Geometry:
    """Return the grids for a series: what `volume` leaves open follows from the experiment.

    Raises
    ------
    ConfigError
        Slices of the requested number or thickness are thinner than a voxel, or no computer holds the grids.
    """
    window = _window_shape(volume, experiment)
    pixel_y, pixel_x = (size / n for size, n in zip(experiment.window_size, window, strict=True))
    voxel_size = (volume.voxel_size or min(pixel_y, pixel_x), pixel_y, pixel_x)
    if volume.shape is not None:
        shape = volume.shape
        num_slices = _slices_of_planes(volume, experiment, shape[0], voxel_size[0])
    else:
        height, width = _lateral_shape(volume, experiment, window, (pixel_y, pixel_x))
        depth = volume.thickness or max(height * pixel_y, width * pixel_x)
        if volume.extended:
            depth, reach_y, reach_x = reach_of_the_beam(experiment, depth)
            height = max(height, 2 * (math.ceil(reach_y / pixel_y) + 1 + volume.margin))
            width = max(width, 2 * (math.ceil(reach_x / pixel_x) + 1 + volume.margin))
        planes, num_slices = _planes_and_slices(volume, experiment, depth, voxel_size[0])
        shape = (planes, height, width)
    geometry = Geometry(
        experiment.energy,
        shape,
        voxel_size,
        window,
        num_slices,
        periodic=volume.periodic,
        specimen_thickness=volume.thickness if volume.extended else None,
    )
    return _of_possible_size(padded(geometry, volume.angular_padding, grows=volume.shape is None))


def _of_possible_size(geometry: Geometry) -> Geometry:
    """Return the geometry, unless no computer holds it."""
    for name, shape in (("volume", geometry.volume_shape), ("probe window", geometry.window_shape)):
        if math.prod(shape) > MOST_VOXELS:
            raise ConfigError(
                f"volume: the {name} would have {' x '.join(f'{n:.3g}' for n in shape)} voxels; no computer holds "
                "so many. Compare volume.voxel_size, volume.thickness, scan positions, energy and angles with their "
                "units (Å, eV, mrad)."
            )
    return geometry


def check_slices(section: str, count: int, thickness: float) -> None:
    """Raise ConfigError if a `section` asks for more slices than any computer has, or for ones thinner than anything.

    `thickness` is that of one slice [Å].
    """
    if count > MOST_SLICES or thickness < THINNEST_SLICE:
        raise ConfigError(
            f"{section}: there would be {count:.3g} slices of {thickness:.3g} Å; expected at most {MOST_SLICES}, of "
            f"{THINNEST_SLICE} Å or more. Compare the thickness of specimen and slices in `{section}` and `volume` "
            "with its unit (Å)."
        )


def _window_shape(volume: VolumeConfig, experiment: Experiment) -> tuple[int, int]:
    """Return the pixels of the probe window: by the requested voxel size, or the detector's, or more."""
    if volume.voxel_size is None:
        rows, columns = experiment.detector_shape
        if _needs_finer_voxels(volume, experiment):
            return _nearest_even(FINER * rows), _nearest_even(FINER * columns)
        return rows, columns
    y, x = (max(1, round(size / volume.voxel_size)) for size in experiment.window_size)
    return y, x


def _needs_finer_voxels(volume: VolumeConfig, experiment: Experiment) -> bool:
    """Return whether no voxels are told, and the detector is so small that its own are coarse (`SMALL_DETECTOR`)."""
    free = volume.voxel_size is None and volume.shape is None and volume.angular_padding == 1
    return free and experiment.largest_angle < SMALL_DETECTOR * experiment.semiangle


def _nearest_even(number: float) -> int:
    return 2 * round(number / 2)


def _lateral_shape(
    volume: VolumeConfig, experiment: Experiment, window: tuple[int, int], pixel: tuple[float, float]
) -> tuple[int, int]:
    """Return the voxels (y, x) of a volume that holds the window at every scan position, and the margin."""
    reach = np.abs(np.concatenate(list(experiment.positions.values()))).max(0)
    y, x = (2 * (math.ceil(r / d) + w // 2 + 1 + volume.margin) for r, d, w in zip(reach, pixel, window, strict=True))
    return y, x


def reach_of_the_beam(experiment: Experiment, thickness: float) -> tuple[float, float, float]:
    """Return the depth [Å] of slices, and how far (y, x) [Å] a volume must reach, to hold an extended specimen.

    The specimen fills |z| <= `thickness` / 2 to all sides. In every tilt, the probe windows of all positions pass
    through a part of it, whose corners lie at r' in the microscope and at r = R^T r' in the specimen.

    Raises
    ------
    ConfigError
        A tilt is so high that the beam runs along the specimen.
    """
    largest = np.zeros(3)
    half_windows = np.multiply(experiment.window_size, 0.5)
    for name, positions in experiment.positions.items():
        rotation = Rotation.from_euler("xyz", experiment.euler_angles[name], degrees=True).as_matrix()
        if abs(rotation[2, 2]) < math.cos(math.radians(HIGHEST_TILT_OF_A_FILM)):
            raise ConfigError(
                f"volume.extended: at tilt {name} the beam meets the specimen at less than "
                f"{90 - HIGHEST_TILT_OF_A_FILM:g}° from its plane. Give the grid by volume.shape instead, or leave "
                "`extended` out if the specimen ends within the scan."
            )
        corners = [positions.min(0) - half_windows, positions.max(0) + half_windows]
        for y, x, z in itertools.product((0, 1), (0, 1), (-thickness / 2, thickness / 2)):
            lateral = np.array([corners[x][1], corners[y][0]])
            depth = (z - rotation[:2, 2] @ lateral) / rotation[2, 2]
            across = rotation.T @ [*lateral, depth]
            largest = np.maximum(largest, np.abs([depth, across[1], across[0]]))
    return 2 * largest[0], largest[1], largest[2]


def _wanted_slices(volume: VolumeConfig, experiment: Experiment, depth: float) -> int:
    """Return the number of slices that the configuration or the depth of field suggests for a `depth` [Å]."""
    if volume.num_slices is not None:
        return volume.num_slices
    if volume.slice_thickness is not None:
        return max(1, round(depth / volume.slice_thickness))
    return max(1, math.ceil(depth / (experiment.depth_of_field / SLICES_PER_DEPTH_OF_FIELD)))


def _slices_of_planes(volume: VolumeConfig, experiment: Experiment, planes: int, plane_thickness: float) -> int:
    """Return the nearest number of slices that cuts a fixed number of planes equally, and is not smaller."""
    wanted = _wanted_slices(volume, experiment, planes * plane_thickness)
    if volume.num_slices is not None:
        return wanted  # the configuration checks that it divides the planes
    small = [n for n in range(1, math.isqrt(planes) + 1) if planes % n == 0]
    return min(n for n in (*small, *(planes // n for n in small)) if n >= min(wanted, planes))


def _planes_and_slices(
    volume: VolumeConfig, experiment: Experiment, depth: float, plane_thickness: float
) -> tuple[int, int]:
    """Return how many planes and slices fill a `depth` [Å]; every slice has the same number of planes."""
    num_slices = _wanted_slices(volume, experiment, depth)
    available = max(1, round(depth / plane_thickness))
    if volume.num_slices is None and volume.slice_thickness is None:
        num_slices = min(num_slices, available)
    if num_slices > available:
        raise ConfigError(
            f"volume: {num_slices} slices in a depth of {depth:.4g} Å are thinner than a voxel of "
            f"{plane_thickness:.4g} Å; expected at most {available}. Reduce volume.num_slices or "
            "volume.voxel_size, or increase volume.slice_thickness."
        )
    return max(1, round(depth / plane_thickness / num_slices)) * num_slices, num_slices


def geometry_problems(geometry: Geometry, experiment: Experiment, *, periodic: bool) -> list[str]:
    """Return what makes a reconstruction on these grids meaningless, as sentences; empty if nothing does."""
    return [*_bright_disk_problems(geometry, experiment), *_window_problems(geometry, experiment, periodic)]


def _bright_disk_problems(geometry: Geometry, experiment: Experiment) -> list[str]:
    """Return why detector or voxels do not hold the bright disk."""
    semiangle, sampling, largest = experiment.semiangle, experiment.angular_sampling, experiment.largest_angle
    problems = []
    in_pixels = semiangle / max(sampling)
    if semiangle > largest:
        problems.append(
            f"semiangle_cutoff is {semiangle} mrad but the detector ends at {largest:.2f} mrad "
            f"({experiment.detector_shape} pixels of {sampling} mrad); the bright disk must fit on the detector. "
            "Check angular_sampling (mrad per pixel) and semiangle_cutoff (mrad)."
        )
    elif in_pixels < FEWEST_PIXELS_OF_DISK:
        problems.append(
            f"semiangle_cutoff of {semiangle} mrad is {in_pixels:.1f} detector pixels; expected "
            f"{FEWEST_PIXELS_OF_DISK} or more. Check angular_sampling (mrad per pixel) and semiangle_cutoff (mrad)."
        )
    coarsest = max(geometry.voxel_size[1:])
    finest = 1e3 * geometry.wavelength / (2 * coarsest)
    if finest < semiangle <= largest:
        problems.append(
            f"voxels of {coarsest:.3g} Å hold angles up to {finest:.2f} mrad but semiangle_cutoff is "
            f"{semiangle} mrad; the voxels must resolve the bright disk. Reduce volume.voxel_size."
        )
    return problems


def _window_problems(geometry: Geometry, experiment: Experiment, periodic: bool) -> list[str]:
    """Return where the probe window does not fit into the volume."""
    (ny, nx), (wy, wx) = geometry.image_shape, geometry.window_shape
    unit = "voxels" if geometry.pixels is None else "padded pixels"
    if wy > ny or wx > nx:
        return [
            f"the volume is {ny} x {nx} {unit} (y, x) but the probe window {wy} x {wx}; expected a volume at least "
            "as large as the window. Enlarge volume.shape or leave it out."
        ]
    problems = []
    for name, positions in experiment.positions.items() if not periodic else ():
        corner = np.round(positions / geometry.sampling) + [ny // 2 - wy // 2, nx // 2 - wx // 2]
        outside = (corner < 0).any(1) | (corner + [wy, wx] > [ny, nx]).any(1)
        if outside.any():
            problems.append(
                f"tilt {name}: the probe window leaves the volume of {ny} x {nx} {unit} at {outside.sum()} of "
                f"{len(positions)} scan positions (first: {np.flatnonzero(outside)[0]}). Enlarge volume.shape or "
                "leave it out, or check that positions are in Å relative to the rotation axis."
            )
    return problems
