"""Steps of the alignment with angles weighed against the stage's, and the errors of what it finds."""

import numpy as np
from jaxtyping import Float

from dptt.analysis.poses import TiltPoses
from dptt.solvers.alignment.pose_update import PoseEquations, pose_information
from dptt.solvers.stage_prior import posterior_errors, posterior_step, prior_precision

SMALLEST_WIDTH = 1e-3
"""[degrees] Of an angle that is kept at its nominal value."""
JOINT_ERRORS = 3.5
"""How many times larger the errors of angles are if the volume is found together with them: it follows its tilts, and
the residual against it is smaller than its error. From one series that abTEM computed (the HEA particle of
`scripts/angle_study`), whose angles then have z-scores of 0.8 to 1.1 rms."""


def weighed_steps(
    steps: Float[np.ndarray, "tilt 5"],
    equations: list[PoseEquations],
    noise: Float[np.ndarray, " tilt"],
    poses: TiltPoses,
    nominal: TiltPoses,
    uncertainty: tuple[float, float, float],
) -> Float[np.ndarray, "tilt 5"]:
    """Return the steps (w, d) [radians, voxels] of the posterior, from those of the data alone.

    `uncertainty` are the standard deviations of the nominal (phi, theta, psi) [degrees].
    """
    precision = _precision(uncertainty)
    weighed = np.empty_like(steps)
    for number, (step, one) in enumerate(zip(steps, equations, strict=True)):
        information, turns = pose_information(one, noise[number], poses.euler_angles[number])
        deviation = np.zeros(5)
        deviation[:3] = np.deg2rad(poses.euler_angles[number] - nominal.euler_angles[number])
        weighed[number] = turns @ posterior_step(np.linalg.solve(turns, step), information, deviation, precision)
    return weighed


def standard_errors(
    equations: list[PoseEquations],
    noise: Float[np.ndarray, " tilt"],
    poses: TiltPoses,
    uncertainty: tuple[float, float, float],
    voxel_size: float,
) -> Float[np.ndarray, "tilt 5"]:
    """Return the standard deviations of (phi, theta, psi) [degrees] and tau along and across the axis [Å].

    Zero for an angle that is kept at its nominal value.
    """
    units = np.array([*[np.rad2deg(1.0)] * 3, voxel_size, voxel_size])
    pairs = zip(equations, noise, poses.euler_angles, strict=True)
    errors = np.array([posterior_errors(pose_information(*p)[0], _precision(uncertainty)) * units for p in pairs])
    errors[:, :3] *= np.array(uncertainty) > 0
    return errors


def _precision(uncertainty: tuple[float, float, float]) -> Float[np.ndarray, "5"]:
    widths = [np.deg2rad(max(width, SMALLEST_WIDTH)) for width in uncertainty]
    return np.array(prior_precision(widths, 5))
