"""Changes of the poses of a tilt series during the alignment; the poses themselves are `dptt.analysis.poses`."""

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from dptt.analysis.poses import TiltPoses, euler_angles_near


def moved(poses: TiltPoses, steps: Float[np.ndarray, "tilt 5"]) -> TiltPoses:
    """Return poses changed by steps (w_x, w_y, w_z [radians], d_y, d_x [Å]) taken in the frame before psi and tau.

    r'' -> exp(w) r'' + d, with r'' = Ry(theta) Rx(phi) r.
    """
    in_plane = Rotation.from_euler("z", poses.euler_angles[:, 2:], degrees=True)
    rotated = in_plane * Rotation.from_rotvec(steps[:, :3]) * in_plane.inv() * poses.rotations()
    shift = in_plane.apply(np.column_stack([steps[:, 4], steps[:, 3], np.zeros(len(steps))]))
    translations = poses.translations + shift[:, [1, 0]]
    return TiltPoses(euler_angles_near(rotated, poses.euler_angles), translations)


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
