"""Poses of a tilt series as arrays, and the freedom that no data can fix.

r' = Rz(psi) Ry(theta) Rx(phi) r + tau, see `physics.rotation`. Turning the specimen by Q and moving it by d,

    R_i -> R_i Q,        tau_i -> tau_i + (R_i d)_(y, x),

leaves all projections alike. `remove_common_motion` takes out the Q and the d that lead away from reference poses:
the volume then lies as the nominal poses say, and neither wanders nor turns while poses are updated.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

TURN_WEIGHTS = np.array([1.0, 1.0, 0.01])
"""Of turns about x (phi), y (theta) and the beam (psi) in the choice of the common rotation."""
GAUGE_ROUNDS = 5


@dataclass(frozen=True)
class TiltPoses:
    """Poses of all tilts."""

    euler_angles: Float[np.ndarray, "tilt 3"]
    """(phi, theta, psi) [degrees]."""
    translations: Float[np.ndarray, "tilt 2"]
    """tau (y, x) [Å]."""

    def rotations(self) -> Rotation:
        """Rz(psi) Ry(theta) Rx(phi) of every tilt, on (x, y, z)."""
        return Rotation.from_euler("xyz", self.euler_angles, degrees=True)


def moved(poses: TiltPoses, steps: Float[np.ndarray, "tilt 5"]) -> TiltPoses:
    """Return poses changed by steps (w_x, w_y, w_z [radians], d_y, d_x [Å]) taken in the frame before psi and tau.

    r'' -> exp(w) r'' + d, with r'' = Ry(theta) Rx(phi) r.
    """
    in_plane = Rotation.from_euler("z", poses.euler_angles[:, 2:], degrees=True)
    turned = in_plane * Rotation.from_rotvec(steps[:, :3]) * in_plane.inv() * poses.rotations()
    shift = in_plane.apply(np.column_stack([steps[:, 4], steps[:, 3], np.zeros(len(steps))]))
    translations = poses.translations + shift[:, [1, 0]]
    return TiltPoses(_near(turned, poses.euler_angles), translations)


def remove_common_motion(poses: TiltPoses, reference: TiltPoses) -> TiltPoses:
    """Return equivalent poses with the rotation and the displacement of the specimen that suit the reference best.

    Of the turns that are left, those about the beam count least: a tilt axis that is turned in the image then shows
    as one psi for all tilts, not as a phi that changes from tilt to tilt.
    """
    rotations = poses.rotations()
    in_plane = Rotation.from_euler("z", -reference.euler_angles[:, 2:], degrees=True)
    for _ in range(GAUGE_ROUNDS):
        turns = (in_plane * rotations * reference.rotations().inv() * in_plane.inv()).as_rotvec()
        design = (in_plane * rotations).as_matrix() * TURN_WEIGHTS[:, None]
        turn, *_ = np.linalg.lstsq(design.reshape(-1, 3), -(turns * TURN_WEIGHTS).ravel(), rcond=None)
        rotations = rotations * Rotation.from_rotvec(turn)
    to_yx = rotations.as_matrix()[:, [1, 0]]  # rows y, x; columns x, y, z
    difference = (reference.translations - poses.translations).ravel()
    displacement, *_ = np.linalg.lstsq(to_yx.reshape(-1, 3), difference, rcond=None)
    return TiltPoses(_near(rotations, reference.euler_angles), poses.translations + to_yx @ displacement)


def keep_angle_scale(poses: TiltPoses, nominal: TiltPoses) -> TiltPoses:
    """Return poses whose theta is not stretched against the nominal one: a linear trend of its change is removed.

    A series that is stretched or compressed as a whole fits nearly as well, better even with a missing wedge, while
    stages misread single angles, not their scale.
    """
    theta = nominal.euler_angles[:, 1] - nominal.euler_angles[:, 1].mean()
    change = poses.euler_angles[:, 1] - nominal.euler_angles[:, 1]
    angles = poses.euler_angles.copy()
    angles[:, 1] -= theta * (theta @ change) / max(theta @ theta, 1e-30)
    return TiltPoses(angles, poses.translations)


def _near(rotations: Rotation, angles: Float[np.ndarray, "tilt 3"]) -> Float[np.ndarray, "tilt 3"]:
    """Return the Euler angles of `rotations`, of the two equal triples and their turns those next to `angles`."""
    phi, theta, psi = rotations.as_euler("xyz", degrees=True).T
    triples = np.stack([np.stack([phi, theta, psi], 1), np.stack([phi + 180, 180 - theta, psi + 180], 1)])
    triples -= 360 * np.round((triples - angles) / 360)
    closer = np.argmin(((triples - angles) ** 2).sum(2), axis=0)
    return triples[closer, np.arange(len(angles))]
