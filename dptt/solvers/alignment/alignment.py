"""The outer loop of [P] Algorithm 2, coarse to fine.

    first translations and tilt axis                                            see `first_poses`
    for every binning, coarse to fine
        until the steps are small
            for every fold of the tilts
                V <- volume from the projections of the other folds             inner loop, see `reconstruction`
                equations of the fold's tilts against V                         see `pose_update`
            translations (and the tilt axis), later also Euler angles <- accelerated Newton steps
        what does not help goes back to its nominal value                       see `_judged_angles`
    weights of the tilts, final volume

Differences from [P]:

- Each tilt is aligned to a volume reconstructed without it. Otherwise the tilt matches its own error in the volume,
  and steps shrink to nothing far from the solution.
- Newton steps with exact derivatives need no step sizes.
- The common motion of all poses, which no projection shows, is removed: the nominal poses define the orientation and
  the position of the volume.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from dptt.analysis.poses import TiltPoses, remove_common_motion
from dptt.distributed.comm import Communicator
from dptt.solvers.alignment.acceleration import Acceleration
from dptt.solvers.alignment.angle_steps import JOINT_ERRORS, standard_errors, weighed_steps
from dptt.solvers.alignment.first_poses import first_poses, in_place
from dptt.solvers.alignment.level import Level
from dptt.solvers.alignment.pose_update import newton_steps
from dptt.solvers.alignment.poses import keep_angle_scale, moved
from dptt.solvers.alignment.projector import sampled
from dptt.solvers.alignment.resampling import Images
from dptt.solvers.alignment.settings import AlignmentSettings
from dptt.solvers.outliers import outlier_weights
from dptt.solvers.stage_prior import AXES, STANDARD_ERRORS, Verdict, exceeds_errors, root_mean_square

STEP_FRACTION = 0.5
"""Fraction of a Newton step of the translations that is taken: the volume moves as well, by about as much."""
CONVERGED = 0.01
"""Root mean square step [voxels] below which a binning has converged."""
LARGEST_SHIFT, LARGEST_ROTATION = 3.0, np.deg2rad(1.0)
"""Limits of one step [voxels, radians]."""
LEAST_GAIN = 0.005
"""Refined Euler angles are kept only if they lower the median misfit against the other tilts by this fraction, and a
tilt axis only if it lowers the misfit of the volume of all tilts by as much. Below it, the stage's angles are more
accurate than angles fitted to a small or crystalline specimen."""
SMALLEST_TURN = 1e-3
"""[degrees] Of the tilt axis: below is rounding."""
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
    errors: Float[np.ndarray, "tilt 5"]
    """Standard deviations of (phi, theta, psi) [degrees] and tau along and across the axis [Å]."""
    verdicts: tuple[Verdict, ...]
    """On the tilt axis and the Euler angles, at the finest binning."""


@dataclass(frozen=True)
class _Estimate:
    """Poses at one binning and how well they fit."""

    poses: TiltPoses
    weights: Float[np.ndarray, " tilt"]
    misfits: Float[np.ndarray, " tilt"]
    """Against the volume of the other tilts."""
    errors: Float[np.ndarray, "tilt 5"]
    verdicts: tuple[Verdict, ...] = ()


def align(
    images: Images,
    nominal: TiltPoses,
    settings: AlignmentSettings,
    communicator: Communicator,
    on_step: Callable[[StepRecord], None] = lambda record: None,
) -> AlignmentResult:
    """Return the poses under which all projections agree with one volume, and that volume.

    Every rank holds all `nominal` poses, and the `images` of its share of the tilts, which it projects and
    back-projects.
    """

    def level_of(binning: int) -> Level:
        return Level(images, nominal, binning=binning, settings=settings, communicator=communicator)

    start = nominal
    if settings.search:
        start = first_poses(images, nominal, level_of(settings.binnings[0]))
    reference = TiltPoses(nominal.euler_angles, start.translations)
    unknown = np.full(images.count, np.nan)
    estimate = _Estimate(start, weights=np.ones(images.count), misfits=unknown, errors=np.zeros((images.count, 5)))
    for binning in settings.binnings:
        estimate = _refined_at(level_of(binning), estimate, reference, on_step)
    poses = in_place(estimate.poses, nominal, settings)
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
        errors=estimate.errors,
        verdicts=estimate.verdicts,
    )


def _refined_at(
    level: Level, estimate: _Estimate, reference: TiltPoses, on_step: Callable[[StepRecord], None]
) -> _Estimate:
    """Return poses refined at one binning: translations, then the tilt axis and Euler angles if they help."""
    shifted = _iterate(level, estimate, reference, on_step=on_step)
    verdicts: list[Verdict] = []
    if level.settings.tilt_axis and level.settings.translation_iterations:
        shifted, of_axis = _judged_axis(level, shifted, reference, on_step)
        verdicts.append(of_axis)
    if level.binning <= level.settings.angles_from:
        rotated = _iterate(level, shifted, reference, angles=True, on_step=on_step)
        shifted, of_angles = _judged_angles(level, shifted, rotated)
        verdicts += of_angles
    return replace(shifted, verdicts=tuple(verdicts))


def _judged_axis(
    level: Level, still: _Estimate, reference: TiltPoses, on_step: Callable[[StepRecord], None]
) -> tuple[_Estimate, Verdict]:
    """Return poses with a turned tilt axis if that is beyond doubt, otherwise with the nominal one, and the verdict.

    The direction is one number that all tilts determine together, so it must differ from the nominal one by more than
    its error. That error knows only noise: where nothing is wrong but single angles, the axis turns as well, and the
    volume of all tilts fits no better than with translations alone. The misfit against other tilts tells nothing: it
    misses what lies between tilts, and was 0.9 % higher with a turn of 2 degrees that was right.
    """
    turned = _iterate(level, still, reference, axis=True, on_step=on_step)
    nominal = _with_nominal_axis(level, still, reference, on_step)
    change = float(np.mean(turned.poses.euler_angles[:, 2] - level.nominal.euler_angles[:, 2]))
    error = float(np.sum(turned.errors[:, 2] ** -2.0) ** -0.5) if turned.errors[:, 2].all() else np.inf
    shifted = _iterate(level, nominal, reference, joint=True, on_step=on_step)
    before, after = (level.joint_misfits(one.poses, one.weights) for one in (shifted, turned))
    fits = np.square(after).sum() < (1 - LEAST_GAIN) * np.square(before).sum()
    gain = 1 - float(np.square(turned.misfits).sum() / np.square(nominal.misfits).sum())
    kept = bool(fits and abs(change) > STANDARD_ERRORS * error)
    return turned if kept else nominal, Verdict("tilt axis", "°", kept, abs(change), error, gain)


def _with_nominal_axis(
    level: Level, estimate: _Estimate, reference: TiltPoses, on_step: Callable[[StepRecord], None]
) -> _Estimate:
    """Return the estimate with the nominal tilt axis: itself, unless a coarser binning has turned the axis."""
    turned = np.mean(estimate.poses.euler_angles[:, 2] - level.nominal.euler_angles[:, 2])
    if abs(turned) < SMALLEST_TURN:
        return estimate
    poses = replace(estimate.poses, euler_angles=estimate.poses.euler_angles - np.array([0.0, 0.0, turned]))
    return _iterate(level, replace(estimate, poses=poses), reference, on_step=on_step)


def _judged_angles(level: Level, shifted: _Estimate, rotated: _Estimate) -> tuple[_Estimate, list[Verdict]]:
    """Return the estimate with those of the refined angles that help, and the verdicts.

    All angles together must lower the median misfit: the tilts at the ends of a series, which the others predict
    worst, scatter by more than any gain. Then each of phi, theta and psi is kept that differs from the nominal values
    by more than its errors, and without which the misfits are higher.
    """
    nominal, verdicts = shifted.poses.euler_angles, []
    deviations = remove_common_motion(rotated.poses, shifted.poses).euler_angles - nominal
    together = _median_is_lower(shifted, rotated.misfits)
    kept, errors = nominal.copy(), rotated.errors.copy()
    errors[:, :3] = 0
    for axis, name in enumerate(AXES):
        if level.settings.angle_uncertainty[axis] == 0:
            continue
        angles = rotated.poses.euler_angles.copy()
        angles[:, axis] = nominal[:, axis]
        without = level.cross_misfits(TiltPoses(angles, rotated.poses.translations), rotated.weights)
        deviation, error = deviations[:, axis], rotated.errors[:, axis]
        gain = 1 - float(np.square(rotated.misfits).sum() / np.square(without).sum())
        helps = together and gain > 0 and exceeds_errors(deviation, error)
        verdicts.append(Verdict(name, "°", helps, root_mean_square(deviation), root_mean_square(error), gain))
        if helps:
            kept[:, axis], errors[:, axis] = rotated.poses.euler_angles[:, axis], error
    if not any(verdict.kept for verdict in verdicts):
        return shifted, verdicts
    poses = TiltPoses(kept, rotated.poses.translations)
    misfits = level.cross_misfits(poses, rotated.weights)
    if not _median_is_lower(shifted, misfits):  # those that helped did so only together with the others
        return shifted, [replace(verdict, kept=False) for verdict in verdicts]
    return replace(rotated, poses=poses, misfits=misfits, errors=errors), verdicts


def _median_is_lower(before: _Estimate, misfits: Float[np.ndarray, " tilt"]) -> bool:
    return bool(np.median(misfits) < (1 - LEAST_GAIN) * np.median(before.misfits))


def _iterate(
    level: Level,
    start: _Estimate,
    reference: TiltPoses,
    *,
    axis: bool = False,
    angles: bool = False,
    joint: bool = False,
    on_step: Callable[[StepRecord], None],
) -> _Estimate:
    """Update poses until the steps are small: translations, with `axis` also the tilt axis, or with `angles` all.

    With `joint`, and for rotations, steps are full ones against the volume of all tilts: against that of other tilts,
    which has taken over a wrong axis, rotations would be a fraction of what is needed.
    """
    settings, poses, weights = level.settings, start.poses, start.weights
    radius = level.shape[2] / 4  # a rotation [rad] times this is the distance [voxels] by which it moves the specimen
    in_voxels, in_angstroms = np.array([radius] * 3 + [1.0] * 2), np.array([1.0] * 3 + [level.voxel_size] * 2)
    limit = np.array([LARGEST_ROTATION] * 3 + [LARGEST_SHIFT] * 2)
    accelerate = Acceleration()
    joint = joint or angles or axis
    for number in range(settings.angle_iterations if joint else settings.translation_iterations):
        equations = level.joint_equations(poses, weights) if joint else level.cross_equations(poses, weights)
        misfits = np.sqrt([one.misfit for one in equations])
        weights = outlier_weights(misfits, median=np.median(misfits), tolerated=TOLERATED_MISFIT, power=4)
        newton = newton_steps(equations, active=np.array([angles] * 3 + [True] * 2), common_rotation=axis)
        if angles:
            noise = JOINT_ERRORS**2 * np.array([one.noise for one in equations])
            newton = weighed_steps(newton, equations, noise, poses, start.poses, settings.angle_uncertainty)
        step = accelerate((1.0 if joint else STEP_FRACTION) * newton * in_voxels) / in_voxels
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
    cross = level.cross_equations(poses, weights)
    equations = level.joint_equations(poses, weights) if joint else cross
    noise = (JOINT_ERRORS if joint else 1.0) ** 2 * np.array([one.noise for one in equations])
    refined = settings.angle_uncertainty if angles else (0.0, 0.0, np.inf if axis else 0.0)
    errors = standard_errors(equations, noise, poses, refined, level.voxel_size)
    return _Estimate(poses, weights, np.sqrt([one.misfit for one in cross]), errors)


def _tilt_axis(poses: TiltPoses, nominal: TiltPoses) -> tuple[float, float]:
    """Return the mean change of psi [degrees] and the mean translation across the tilt axis [Å].

    A displaced specimen adds x cos(theta) + z sin(theta) to the translation; it is fitted together with the mean.
    """
    change = poses.euler_angles[:, 2] - nominal.euler_angles[:, 2]
    theta, psi = np.deg2rad(poses.euler_angles[:, 1]), np.deg2rad(poses.euler_angles[:, 2])
    across = np.cos(psi) * poses.translations[:, 1] + np.sin(psi) * poses.translations[:, 0]
    design = np.column_stack([np.ones_like(theta), np.cos(theta), np.sin(theta)])
    return float(np.mean(change)), float(np.linalg.lstsq(design, across, rcond=None)[0][0])
