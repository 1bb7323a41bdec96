"""The outer loop of [P] Algorithm 2, coarse to fine.

    first translations and tilt axis                                            see `first_poses`
    for every binning, coarse to fine
        until the steps are small
            for every fold of the tilts
                V <- volume from the projections of the other folds             inner loop, see `reconstruction`
                equations of the fold's tilts against V                         see `pose_update`
            translations (and the tilt axis), later also Euler angles <- accelerated Newton steps
    weights of the tilts, final volume

Differences from [P]:

- Each tilt is aligned to a volume reconstructed without it. Otherwise the tilt matches its own error in the volume,
  and steps shrink to nothing far from the solution.
- Newton steps with exact derivatives need no step sizes.
- The common motion of all poses, which no projection shows, is removed: the nominal poses define the orientation and
  the position of the volume.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dptt.analysis.poses import TiltPoses, remove_common_motion
from dptt.distributed.comm import Communicator
from dptt.solvers.alignment.acceleration import Acceleration
from dptt.solvers.alignment.first_poses import first_poses
from dptt.solvers.alignment.level import Level
from dptt.solvers.alignment.pose_update import newton_steps
from dptt.solvers.alignment.poses import keep_angle_scale, moved
from dptt.solvers.alignment.projector import sampled
from dptt.solvers.alignment.resampling import Images
from dptt.solvers.alignment.settings import AlignmentSettings
from dptt.solvers.outliers import outlier_weights

STEP_FRACTION = 0.5
"""Fraction of a Newton step of the translations that is taken: the volume follows the tilts by about the rest."""
CONVERGED = 0.01
"""Root mean square step [voxels] below which a binning has converged."""
LARGEST_SHIFT, LARGEST_ROTATION = 3.0, np.deg2rad(1.0)
"""Limits of one step [voxels, radians]."""
ANGLE_GAIN = 0.005
"""Refined Euler angles are kept if they lower the misfit against the volume of the other tilts by this fraction.
Below it, the stage angles are more accurate than angles fitted to a small or crystalline specimen."""
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
    rotation: float
    """Root mean square step of the rotations [degrees]."""


@dataclass(frozen=True, kw_only=True)
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
    """1, or less for tilts that do not fit the volume of the others."""
    start: TiltPoses
    """Poses after the first search."""
    tilt_axis: float
    """Mean change of psi [degrees]: the angle between the refined and the nominal tilt axis."""
    axis_offset: float
    """Mean of tau across the tilt axis [Å], without the displacement of the specimen itself."""


@dataclass(frozen=True)
class _Estimate:
    """Poses at one binning and how well they fit."""

    poses: TiltPoses
    weights: Float[np.ndarray, " tilt"]
    misfits: Float[np.ndarray, " tilt"]
    """Against the volume of the other tilts."""


def align(
    images: Images,
    nominal: TiltPoses,
    settings: AlignmentSettings,
    communicator: Communicator,
    on_step: Callable[[StepRecord], None] = lambda record: None,
) -> AlignmentResult:
    """Return the poses under which all projections agree with one volume, and that volume.

    Every rank holds all `images` and `nominal` poses and projects and back-projects its share of the tilts.
    """

    def level_of(binning: int) -> Level:
        return Level(images, nominal, binning=binning, settings=settings, communicator=communicator)

    start = nominal
    if settings.search:
        start = first_poses(images, nominal, level_of(settings.binnings[0]))
    reference = TiltPoses(nominal.euler_angles, start.translations)
    estimate = _Estimate(start, np.ones(len(images.values)), np.full(len(images.values), np.nan))
    for binning in settings.binnings:
        estimate = _refined_at(level_of(binning), estimate, reference, on_step)
    poses = remove_common_motion(estimate.poses, nominal)
    final = level_of(settings.final_binning)
    volume = sampled(final.volume(poses, estimate.weights, settings.final_iterations))
    tilt_axis, axis_offset = _tilt_axis(poses, nominal)
    return AlignmentResult(
        poses=poses,
        volume=volume,
        voxel_size=final.voxel_size,
        misfits=estimate.misfits,
        weights=estimate.weights,
        start=start,
        tilt_axis=tilt_axis,
        axis_offset=axis_offset,
    )


def _refined_at(
    level: Level, estimate: _Estimate, reference: TiltPoses, on_step: Callable[[StepRecord], None]
) -> _Estimate:
    """Return poses refined at one binning: translations first, then Euler angles if these lower the misfit."""
    moved_only = _iterate(level, estimate, reference, angles=False, on_step=on_step)
    if level.settings.angles_from < level.binning:
        return moved_only
    rotated = _iterate(level, moved_only, reference, angles=True, on_step=on_step)
    better = np.median(rotated.misfits) < (1 - ANGLE_GAIN) * np.median(moved_only.misfits)
    return rotated if better else moved_only


def _iterate(
    level: Level,
    start: _Estimate,
    reference: TiltPoses,
    *,
    angles: bool,
    on_step: Callable[[StepRecord], None],
) -> _Estimate:
    """Update translations, or with `angles` all pose parameters, until the steps at this binning are small."""
    settings, poses, weights = level.settings, start.poses, start.weights
    radius = level.shape[2] / 4  # a rotation [rad] times this is the distance [voxels] by which it moves the specimen
    in_voxels, in_angstroms = np.array([radius] * 3 + [1.0] * 2), np.array([1.0] * 3 + [level.voxel_size] * 2)
    limit = np.array([LARGEST_ROTATION] * 3 + [LARGEST_SHIFT] * 2)
    accelerate = Acceleration()
    for number in range(settings.angle_iterations if angles else settings.translation_iterations):
        equations = level.joint_equations(poses, weights) if angles else level.cross_equations(poses, weights)
        misfits = np.sqrt([one.misfit for one in equations])
        weights = outlier_weights(misfits, median=np.median(misfits), tolerated=TOLERATED_MISFIT, power=4)
        newton = newton_steps(
            equations, active=np.array([angles] * 3 + [True] * 2), common_rotation=settings.tilt_axis and not angles
        )
        step = accelerate((1.0 if angles else STEP_FRACTION) * newton * in_voxels) / in_voxels
        step = np.clip(step, -limit, limit)
        poses = keep_angle_scale(moved(poses, step * in_angstroms), level.nominal)
        shift, rotation = (float(np.sqrt(np.mean(steps**2))) for steps in (step[:, 3:], step[:, :3]))
        on_step(
            StepRecord(
                binning=level.binning,
                step=number + 1,
                misfit=float(np.sqrt(np.mean(misfits**2))),
                shift=shift * level.voxel_size,
                rotation=float(np.rad2deg(rotation)),
            )
        )
        if shift + rotation * radius < CONVERGED:
            break
    poses = remove_common_motion(poses, reference)
    return _Estimate(poses, weights, level.cross_misfits(poses, weights))


def _tilt_axis(poses: TiltPoses, nominal: TiltPoses) -> tuple[float, float]:
    """Return the mean change of psi [degrees] and the mean translation across the tilt axis [Å].

    A displaced specimen adds x cos(theta) + z sin(theta) to the translation; it is fitted together with the mean.
    """
    change = poses.euler_angles[:, 2] - nominal.euler_angles[:, 2]
    theta, psi = np.deg2rad(poses.euler_angles[:, 1]), np.deg2rad(poses.euler_angles[:, 2])
    across = np.cos(psi) * poses.translations[:, 1] + np.sin(psi) * poses.translations[:, 0]
    design = np.column_stack([np.ones_like(theta), np.cos(theta), np.sin(theta)])
    return float(np.mean(change)), float(np.linalg.lstsq(design, across, rcond=None)[0][0])
