"""The poses at which alignment starts: the best of the candidates that `starts` finds without a volume."""

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from dptt.analysis.poses import TiltPoses, keep_unknown_depth, remove_common_motion
from dptt.solvers.alignment.level import Level
from dptt.solvers.alignment.resampling import Images, of_all_tilts
from dptt.solvers.alignment.settings import AlignmentSettings
from dptt.solvers.alignment.starts import (
    centre_of_isolated_specimen,
    shifts_along_axis,
    shifts_from_mass,
    shifts_from_neighbours,
)
from dptt.solvers.ties import first_smallest

AXES_TRIED = np.arange(-10.0, 10.5, 1.0)
"""Changes of psi [degrees] among which the tilt axis is searched first."""


def first_poses(images: Images, nominal: TiltPoses, level: Level) -> TiltPoses:
    """Return the poses to start from: `nominal` with new translations and, unless isolated, a new tilt axis.

    `level` is the coarsest binning of the same `images`.
    """
    return _of_isolated_specimen(images, nominal, level) or _best_candidate(level, nominal)


def in_place(poses: TiltPoses, nominal: TiltPoses, settings: AlignmentSettings) -> TiltPoses:
    """Return equivalent poses near the nominal ones, where a volume of limited depth still holds the specimen."""
    if settings.depth is None:
        return remove_common_motion(poses, nominal)
    return keep_unknown_depth(poses, nominal)


def _of_isolated_specimen(images: Images, nominal: TiltPoses, level: Level) -> TiltPoses | None:
    """Return poses with the centre of mass of an isolated specimen on the axis; None if it is not isolated.

    The axis keeps its nominal direction and is refined later: neither the profiles nor the misfits of a small crystal
    show it.
    """
    centres = of_all_tilts(
        images.count, level.communicator, lambda tilt: centre_of_isolated_specimen(*images.of(tilt)), (2,)
    )
    if np.isnan(centres).any():
        return None
    translations = (centres - images.centre) * images.pixel_size
    return in_place(TiltPoses(nominal.euler_angles, translations), nominal, level.settings)


def _best_candidate(level: Level, nominal: TiltPoses) -> TiltPoses:
    """Return the candidate with the smallest median misfit: `nominal`, or a tilt axis with its translations."""
    candidates = [nominal]
    for poses in (nominal, _with_axis(nominal, _first_tilt_axis(level, nominal))):
        images, measured = level.stack(poses)
        by_mass, by_neighbours = (
            TiltPoses(poses.euler_angles, _in_image(poses, shifts * level.voxel_size))
            for shifts in (
                shifts_from_mass(images, measured),
                shifts_from_neighbours(images, poses.euler_angles[:, 1]),
            )
        )
        candidates += [in_place(by_mass, nominal, level.settings), remove_common_motion(by_neighbours, nominal)]
    weights = np.ones(len(nominal.translations))
    misfits = [np.median([one.misfit for one in level.cross_equations(poses, weights)]) for poses in candidates]
    return candidates[first_smallest(misfits)]


def _first_tilt_axis(level: Level, nominal: TiltPoses) -> float:
    """Return the change of psi [degrees] for which the profiles of the projections along the axis agree best."""
    differences = [shifts_along_axis(level.stack(_with_axis(nominal, change))[0])[1] for change in AXES_TRIED]
    nearest_first = np.argsort(np.abs(AXES_TRIED), kind="stable")
    best = int(nearest_first[first_smallest([differences[index] for index in nearest_first])])
    best = min(max(best, 1), len(AXES_TRIED) - 2)
    low, middle, high = differences[best - 1 : best + 2]
    curvature = low - 2 * middle + high
    fraction = 0.5 * (low - high) / curvature if curvature > 0 else 0.0
    return float(AXES_TRIED[best] + np.clip(fraction, -1, 1) * (AXES_TRIED[1] - AXES_TRIED[0]))


def _with_axis(nominal: TiltPoses, change: float) -> TiltPoses:
    """Return poses with psi changed by `change` [degrees] for all tilts, and without translations."""
    return TiltPoses(nominal.euler_angles + np.array([0.0, 0.0, change]), np.zeros_like(nominal.translations))


def _in_image(nominal: TiltPoses, shifts: Float[np.ndarray, "tilt 2"]) -> Float[np.ndarray, "tilt 2"]:
    """Return shifts (y, x) along and across the tilt axis as translations of the image, rotated by psi."""
    in_plane = Rotation.from_euler("z", nominal.euler_angles[:, 2:], degrees=True)
    return in_plane.apply(np.column_stack([shifts[:, 1], shifts[:, 0], np.zeros(len(shifts))]))[:, [1, 0]]
