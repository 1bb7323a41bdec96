"""Poses of a tilt series as arrays, the motion that all of them can share, and the errors of refined poses.

A pose is ``R = Rz(psi) Ry(theta) Rx(phi)`` on vectors (x, y, z) ([P] eq. 11; SciPy's extrinsic "xyz") and a
translation tau (y, x), see `dptt.physics.rotation`. If the specimen is rotated and displaced, poses changed alike,

    R_i -> R_i Q,        tau_i -> tau_i + (R_i d)_(y, x)

with one rotation Q and one displacement d, give the same projections. No data can determine Q and d, so they are
fitted to reference poses and removed: in the alignment after every update, so that the specimen stays where the
nominal poses put it (`remove_common_motion`), and here before anything is called an error (`pose_errors`).

The two differ only in what makes Q the best one. Errors use the Q that brings all orientations closest to the truth,
in closed form. The alignment gives rotations about the beam little weight: a tilt axis that is rotated in the image
then appears as one psi for all tilts, not as a phi that changes from tilt to tilt.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

ROTATION_WEIGHTS = np.array([1.0, 1.0, 0.01])
"""Weights of rotations about x (phi), y (theta) and the beam (psi) in `remove_common_motion`."""
GAUSS_NEWTON_STEPS = 5
KNOWN_DEPTH = 3.0
"""Standard errors from which nominal translations tell the depth of the specimen."""


@dataclass(frozen=True)
class TiltPoses:
    """Poses of all tilts."""

    euler_angles: Float[np.ndarray, "tilt 3"]
    """(phi, theta, psi) about x, y (the stage tilt) and z [degrees]."""
    translations: Float[np.ndarray, "tilt 2"]
    """tau (y, x) [Å]."""

    def rotations(self) -> Rotation:
        """Rz(psi) Ry(theta) Rx(phi) of every tilt, on (x, y, z)."""
        return Rotation.from_euler("xyz", self.euler_angles, degrees=True)


@dataclass(frozen=True)
class PoseErrors:
    """Errors that remain in each pose after the common rotation and displacement are removed."""

    geodesic: Float[np.ndarray, " tilt"]
    """Angle of the rotation between estimated and true orientation [degrees]."""
    euler: Float[np.ndarray, "tilt 3"]
    """Estimated minus true phi, theta, psi [degrees]."""
    translation: Float[np.ndarray, "tilt 2"]
    """Estimated minus true tau (y, x) [Å]."""
    median_geodesic: float
    """[degrees]"""
    max_geodesic: float
    """[degrees]"""
    median_translation: float
    """Of the length of the translation error [Å]."""
    max_translation: float
    """Of the length of the translation error [Å]."""
    common_rotation: Float[np.ndarray, "3 3"]
    """Q, on (x, y, z) vectors, with ``R_estimated Q`` closest to ``R_true``."""
    common_displacement: Float[np.ndarray, "3"]
    """d (z, y, x) [Å], with ``tau_estimated + (R_estimated Q d)_(y, x)`` closest to ``tau_true``."""


def pose_errors(estimated: TiltPoses, true: TiltPoses) -> PoseErrors:
    """Return the errors of estimated poses, free of the specimen's common rotation and displacement.

    Raises
    ------
    ValueError
        If the two series differ in length or an array has the wrong shape.
    """
    num_tilts = len(true.euler_angles)
    for name, poses in (("estimated", estimated), ("true", true)):
        if poses.euler_angles.shape != (num_tilts, 3) or poses.translations.shape != (num_tilts, 2):
            raise ValueError(
                f"{name} poses have euler_angles {poses.euler_angles.shape} and translations "
                f"{poses.translations.shape}; expected ({num_tilts}, 3) and ({num_tilts}, 2)"
            )
    common_rotation = _closest_common_rotation(estimated.rotations(), true.rotations())
    rotations = estimated.rotations() * common_rotation
    moved, displacement = _remove_common_displacement(rotations, estimated.translations, true)

    geodesic = np.degrees((rotations * true.rotations().inv()).magnitude())
    translation = moved.translations - true.translations
    lengths = np.linalg.norm(translation, axis=1)
    return PoseErrors(
        geodesic=geodesic,
        euler=moved.euler_angles - true.euler_angles,
        translation=translation,
        median_geodesic=float(np.median(geodesic)),
        max_geodesic=float(geodesic.max()),
        median_translation=float(np.median(lengths)),
        max_translation=float(lengths.max()),
        common_rotation=common_rotation.as_matrix(),
        common_displacement=displacement[::-1].copy(),
    )


def remove_common_motion(poses: TiltPoses, reference: TiltPoses) -> TiltPoses:
    """Return equivalent poses: the rotation and displacement of the specimen that fit the reference best."""
    rotations = _near_reference_tilts(poses.rotations(), reference)
    return _remove_common_displacement(rotations, poses.translations, reference)[0]


def keep_unknown_depth(poses: TiltPoses, nominal: TiltPoses) -> TiltPoses:
    """Return equivalent poses near the nominal ones, at the depth they have unless the nominal translations tell it.

    Translations of single tilts that are wrong by more than the specimen is thick tell nothing of its depth; moved to
    them, it would leave the volume. They tell it where it differs from that of `poses` by more than three standard
    errors, from how far they scatter across the axis.
    """
    rotations = _near_reference_tilts(poses.rotations(), nominal)
    moved, displacement = _remove_common_displacement(rotations, poses.translations, nominal)
    to_yx = rotations.as_matrix()[:, [1, 0]].reshape(-1, 3)
    left = np.square(nominal.translations - moved.translations).sum() / max(len(to_yx) - 3, 1)
    error = np.sqrt(left * np.linalg.pinv(to_yx.T @ to_yx)[2, 2])
    if abs(displacement[2]) > KNOWN_DEPTH * error:
        return moved
    return _remove_common_displacement(rotations, poses.translations, nominal, free=2)[0]


def euler_angles_near(rotations: Rotation, angles: Float[np.ndarray, "tilt 3"]) -> Float[np.ndarray, "tilt 3"]:
    """Return the Euler angles [degrees] of rotations; of all equivalent triples, those nearest to `angles`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Gimbal lock")
        phi, theta, psi = rotations.as_euler("xyz", degrees=True).T
    triples = np.stack([np.stack([phi, theta, psi], 1), np.stack([phi + 180, 180 - theta, psi + 180], 1)])
    triples -= 360 * np.round((triples - angles) / 360)
    closer = np.argmin(((triples - angles) ** 2).sum(2), axis=0)
    return triples[closer, np.arange(len(angles))]


def _closest_common_rotation(estimated: Rotation, true: Rotation) -> Rotation:
    """Return the Q that minimises ``sum |R_estimated Q - R_true|²`` (Wahba's problem, solved by an SVD)."""
    correlation = np.einsum("nji,njk->ik", estimated.as_matrix(), true.as_matrix())
    u, _, vt = np.linalg.svd(correlation)
    handedness = np.diag([1.0, 1.0, np.linalg.det(u @ vt)])
    return Rotation.from_matrix(u @ handedness @ vt)


def _near_reference_tilts(rotations: Rotation, reference: TiltPoses) -> Rotation:
    """Return ``R_i Q`` with the Q of least squares under `ROTATION_WEIGHTS`, by Gauss-Newton steps."""
    in_plane = Rotation.from_euler("z", -reference.euler_angles[:, 2:], degrees=True)
    for _ in range(GAUSS_NEWTON_STEPS):
        deviations = (in_plane * rotations * reference.rotations().inv() * in_plane.inv()).as_rotvec()
        design = (in_plane * rotations).as_matrix() * ROTATION_WEIGHTS[:, None]
        step, *_ = np.linalg.lstsq(design.reshape(-1, 3), -(deviations * ROTATION_WEIGHTS).ravel(), rcond=None)
        rotations = rotations * Rotation.from_rotvec(step)
    return rotations


def _remove_common_displacement(
    rotations: Rotation, translations: Float[np.ndarray, "tilt 2"], reference: TiltPoses, free: int = 3
) -> tuple[TiltPoses, Float[np.ndarray, " free"]]:
    """Return poses whose translations are closest to the reference's, and the d (x, y, z) [Å] that makes them so.

    Only the first `free` components of d are.
    """
    to_yx = rotations.as_matrix()[:, [1, 0], :free]  # rows y, x; columns x, y, z
    difference = (reference.translations - translations).ravel()
    displacement, *_ = np.linalg.lstsq(to_yx.reshape(-1, free), difference, rcond=None)
    moved = TiltPoses(euler_angles_near(rotations, reference.euler_angles), translations + to_yx @ displacement)
    return moved, displacement
