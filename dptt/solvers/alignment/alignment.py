"""The outer loop of [P] Algorithm 2, coarse to fine.

    first translations                                                          see `starts`
    for every binning, coarse to fine
        until the steps are small
            for every fold of the tilts
                V <- volume from the other folds' projections                   inner loop, see `reconstruction`
                equations of the fold's tilts against V                         see `pose_update`
            translations (and the tilt axis), later also Euler angles <- accelerated Newton steps
    weights of the tilts, final volume

Differences from [P], and why. A tilt is aligned to a volume that it had no part in: otherwise it meets its own error
there, and steps shrink to nothing far from the answer. Newton steps with the exact derivatives need no step sizes.
The common motion of all poses, which no projection shows, is removed: the volume lies as the nominal poses say.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from dptt.analysis.poses import TiltPoses, remove_common_motion
from dptt.distributed.comm import Communicator
from dptt.solvers.alignment.acceleration import Acceleration
from dptt.solvers.alignment.level import Level
from dptt.solvers.alignment.pose_update import newton_steps
from dptt.solvers.alignment.poses import keep_angle_scale, moved
from dptt.solvers.alignment.projector import sampled
from dptt.solvers.alignment.resampling import Images, binned
from dptt.solvers.alignment.settings import AlignmentSettings
from dptt.solvers.alignment.starts import (
    centres_of_isolated_specimen,
    shifts_along_axis,
    shifts_from_mass,
    shifts_from_neighbours,
)

DAMPING = 0.5
"""Of Newton steps: the volume follows when tilts move, by about as much."""
CONVERGED = 0.01
"""Root mean square step [voxels] below which a binning is done."""
LARGEST_SHIFT, LARGEST_TURN = 3.0, np.deg2rad(1.0)
"""Limits of one step [voxels, radians]."""
AXES_TRIED = np.arange(-10.0, 10.5, 1.0)
"""Changes of psi [degrees] among which the tilt axis is searched first."""
ANGLE_GAIN = 0.005
"""Refined Euler angles are kept if they lower the misfit against the volume of the other tilts by this fraction:
below it, stage angles are better than what a small or crystalline specimen shows of them."""
TOLERATED_MISFIT = 2.0
"""A tilt keeps its full weight up to this multiple of the median misfit."""


@dataclass(frozen=True)
class StepRecord:
    """One outer step, for the log."""

    binning: int
    step: int
    misfit: float
    """Root mean square over tilts of |model - image| / |image|."""
    shift: float
    """Root mean square step of the translations [Å]."""
    turn: float
    """... of the rotations [degrees]."""


@dataclass(frozen=True)
class AlignmentResult:
    """Poses and volume."""

    poses: TiltPoses
    volume: Float[np.ndarray, "z y x"]
    """[V]"""
    voxel_size: float
    """[Å]"""
    misfits: Float[np.ndarray, " tilt"]
    """|model - image| / |image| of every tilt against the volume of the others."""
    weights: Float[np.ndarray, " tilt"]
    """1, or less for tilts that the others cannot explain."""
    start: TiltPoses
    """Poses after the first search."""
    tilt_axis: float
    """Mean change of psi [degrees]: how far the tilt axis lies from the nominal one."""
    axis_offset: float
    """Mean of tau across the tilt axis [Å], the specimen's own displacement taken out."""


def align(
    images: Images,
    nominal: TiltPoses,
    settings: AlignmentSettings,
    communicator: Communicator,
    on_step: Callable[[StepRecord], None] = lambda record: None,
) -> AlignmentResult:
    """Return the poses that make all projections those of one volume, and that volume.

    Every rank is given all `images` and `nominal` poses; it projects and back-projects its share of the tilts.
    """

    def level_of(binning: int) -> Level:
        return Level(binned(images, binning), nominal, settings, communicator)

    weights = np.ones(len(images.values))
    poses = start = nominal
    if settings.search:
        poses = start = _isolated(images, nominal) or _search(level_of(settings.binnings[0]), nominal)
    for binning in settings.binnings:
        level = level_of(binning)
        refine_angles = settings.angles_from >= binning
        poses, weights = _iterate(level, poses, nominal, weights, False, binning, on_step)
        poses = remove_common_motion(poses, TiltPoses(nominal.euler_angles, start.translations))
        misfits = _cross_misfits(level, poses, weights)
        if refine_angles:
            turned, new_weights = _iterate(level, poses, nominal, weights, True, binning, on_step)
            turned = remove_common_motion(turned, TiltPoses(nominal.euler_angles, start.translations))
            new_misfits = _cross_misfits(level, turned, new_weights)
            if np.median(new_misfits) < (1 - ANGLE_GAIN) * np.median(misfits):
                poses, weights, misfits = turned, new_weights, new_misfits
    poses = remove_common_motion(poses, nominal)
    final = level_of(settings.final_binning)
    volume = sampled(final.volume(poses, weights, settings.final_iterations))
    return AlignmentResult(poses, volume, final.voxel_size, misfits, weights, start, *_tilt_axis(poses, nominal))


def _cross_misfits(level: Level, poses: TiltPoses, weights: Float[np.ndarray, " tilt"]) -> np.ndarray:
    """Return |model - image| / |image| of every tilt against the volume of the others."""
    return np.sqrt([one.misfit for one in level.cross_equations(poses, weights)])


def _isolated(images: Images, nominal: TiltPoses) -> TiltPoses | None:
    """Return poses with an isolated specimen's centre of mass on the axis; None if it is not isolated.

    The axis itself is the nominal one, to be refined: neither profiles nor misfits of a small crystal tell it.
    """
    centres = centres_of_isolated_specimen(images.values, images.weights)
    if centres is None:
        return None
    translations = (centres - images.centre) * images.pixel_size
    return remove_common_motion(TiltPoses(nominal.euler_angles, translations), nominal)


def _search(level: Level, nominal: TiltPoses) -> TiltPoses:
    """Return the nominal poses with the first tilt axis and translations, of those tried, that explain most."""
    candidates = [nominal]
    for poses in (nominal, _with_axis(nominal, _first_tilt_axis(level, nominal))):
        images, measured = level.stack(poses)
        for shifts in (
            shifts_from_mass(images, measured),
            shifts_from_neighbours(images, poses.euler_angles[:, 1]),
        ):
            placed = TiltPoses(poses.euler_angles, _in_image(poses, shifts * level.voxel_size))
            candidates.append(remove_common_motion(placed, nominal))
    weights = np.ones(len(nominal.translations))
    misfits = [np.median([one.misfit for one in level.cross_equations(poses, weights)]) for poses in candidates]
    return candidates[int(np.argmin(misfits))]


def _first_tilt_axis(level: Level, nominal: TiltPoses) -> float:
    """Return the change of psi [degrees] for which the projections' profiles along the axis agree best."""
    differences = [shifts_along_axis(level.stack(_with_axis(nominal, change))[0])[1] for change in AXES_TRIED]
    best = int(np.clip(np.argmin(differences), 1, len(AXES_TRIED) - 2))
    low, middle, high = differences[best - 1 : best + 2]
    curvature = low - 2 * middle + high
    fraction = 0.5 * (low - high) / curvature if curvature > 0 else 0.0
    return float(AXES_TRIED[best] + np.clip(fraction, -1, 1) * (AXES_TRIED[1] - AXES_TRIED[0]))


def _with_axis(nominal: TiltPoses, change: float) -> TiltPoses:
    """Return poses with psi changed by as much for all tilts, and no translations."""
    return TiltPoses(nominal.euler_angles + np.array([0.0, 0.0, change]), np.zeros_like(nominal.translations))


def _in_image(nominal: TiltPoses, shifts: Float[np.ndarray, "tilt 2"]) -> Float[np.ndarray, "tilt 2"]:
    """Return shifts (y, x) along and across the tilt axis as translations of the image, turned by psi."""
    turn = Rotation.from_euler("z", nominal.euler_angles[:, 2:], degrees=True)
    return turn.apply(np.column_stack([shifts[:, 1], shifts[:, 0], np.zeros(len(shifts))]))[:, [1, 0]]


def _iterate(
    level: Level,
    poses: TiltPoses,
    nominal: TiltPoses,
    weights: Float[np.ndarray, " tilt"],
    angles: bool,
    binning: int,
    on_step: Callable[[StepRecord], None],
) -> tuple[TiltPoses, Float[np.ndarray, " tilt"]]:
    """Update poses at one binning until the steps are small; return them and the tilts' weights."""
    settings = level.settings
    count = settings.angle_iterations if angles else settings.translation_iterations
    common_rotation = settings.tilt_axis and not angles
    active = np.array([angles] * 3 + [True] * 2)
    size = np.array([level.shape[2] / 4] * 3 + [1.0] * 2)  # a turn as the voxels by which it moves the specimen
    accelerate = Acceleration()
    for number in range(count):
        equations = level.joint_equations(poses, weights) if angles else level.cross_equations(poses, weights)
        misfits = np.sqrt([one.misfit for one in equations])
        weights = tilt_weights(misfits)
        damping = 1.0 if angles else DAMPING
        step = accelerate(damping * newton_steps(equations, active, common_rotation=common_rotation) * size) / size
        step = _limited(step)
        poses = moved(poses, step * np.array([1.0] * 3 + [level.voxel_size] * 2))
        poses = keep_angle_scale(poses, nominal)
        shift, turn = (float(np.sqrt(np.mean(part**2))) for part in (step[:, 3:], step[:, :3]))
        on_step(
            StepRecord(
                binning,
                number + 1,
                float(np.sqrt(np.mean(misfits**2))),
                shift * level.voxel_size,
                float(np.rad2deg(turn)),
            )
        )
        if shift + turn * size[0] < CONVERGED:
            break
    return poses, weights


def _limited(step: Float[np.ndarray, "tilt 5"]) -> Float[np.ndarray, "tilt 5"]:
    limit = np.array([LARGEST_TURN] * 3 + [LARGEST_SHIFT] * 2)
    return np.clip(step, -limit, limit)


def tilt_weights(misfits: Float[np.ndarray, " tilt"]) -> Float[np.ndarray, " tilt"]:
    """Return 1 for tilts that the others explain about as well as they do each other, less for worse ones."""
    limit = TOLERATED_MISFIT * np.median(misfits)
    return np.minimum(limit / np.maximum(misfits, 1e-30), 1.0) ** 4


def _tilt_axis(poses: TiltPoses, nominal: TiltPoses) -> tuple[float, float]:
    """Return the mean change of psi [degrees] and the mean translation across the tilt axis [Å].

    A displaced specimen adds its x cos(theta) + z sin(theta) to the latter; it is fitted beside the constant.
    """
    change = poses.euler_angles[:, 2] - nominal.euler_angles[:, 2]
    theta, psi = np.deg2rad(poses.euler_angles[:, 1]), np.deg2rad(poses.euler_angles[:, 2])
    across = np.cos(psi) * poses.translations[:, 1] + np.sin(psi) * poses.translations[:, 0]
    design = np.column_stack([np.ones_like(theta), np.cos(theta), np.sin(theta)])
    return float(np.mean(change)), float(np.linalg.lstsq(design, across, rcond=None)[0][0])
