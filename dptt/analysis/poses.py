"""Errors of refined poses, after taking out the two freedoms that no tilt series can fix.

A pose is ``R = Rz(psi) Ry(theta) Rx(phi)`` on vectors (x, y, z) ([P] eq. 11; SciPy's extrinsic 'xyz') and a
translation tau (y, x). Every turn and every move of the specimen is compensated by poses changed alike,

    R_i -> R_i Q,        tau_i -> tau_i + (R_i d)_(y, x)

for one rotation Q and one displacement d: projections are the same, and data cannot tell. So Q and d are fitted, by
least squares over all tilts, before anything is called an error.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation


@dataclass(frozen=True)
class Poses:
    """Poses of a tilt series.

    Attributes
    ----------
    euler_angles : array (tilts, 3)
        phi about x, theta about y (the stage tilt), psi about z [degrees].
    translations : array (tilts, 2)
        tau (y, x) [Å].
    """

    euler_angles: NDArray[np.floating]
    translations: NDArray[np.floating]

    def rotations(self) -> Rotation:
        """``Rz(psi) Ry(theta) Rx(phi)`` for each tilt, on vectors (x, y, z)."""
        return Rotation.from_euler("xyz", self.euler_angles, degrees=True)


@dataclass(frozen=True)
class PoseErrors:
    """What is left of each pose's error once the common rotation and displacement are removed.

    Attributes
    ----------
    geodesic : array (tilts,)
        Angle of the rotation between estimated and true orientation [degrees].
    euler : array (tilts, 3)
        Estimated minus true phi, theta, psi [degrees].
    translation : array (tilts, 2)
        Estimated minus true tau (y, x) [Å].
    median_geodesic, max_geodesic : float
        [degrees]
    median_translation, max_translation : float
        Of the length of the translation error [Å].
    common_rotation : array (3, 3)
        Q, on (x, y, z) vectors, with ``R_estimated Q`` closest to ``R_true``.
    common_displacement : array (3,)
        d (z, y, x) [Å], with ``tau_estimated + (R_estimated Q d)_(y, x)`` closest to ``tau_true``.
    """

    geodesic: NDArray[np.floating]
    euler: NDArray[np.floating]
    translation: NDArray[np.floating]
    median_geodesic: float
    max_geodesic: float
    median_translation: float
    max_translation: float
    common_rotation: NDArray[np.floating]
    common_displacement: NDArray[np.floating]


def pose_errors(estimated: Poses, true: Poses) -> PoseErrors:
    """Errors of estimated poses against true ones, free of the specimen's common rotation and displacement.

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
    common_rotation = _common_rotation(estimated.rotations(), true.rotations())
    aligned = estimated.rotations() * common_rotation
    displacement, translation = _common_displacement(
        aligned, np.asarray(estimated.translations - true.translations, float)
    )

    geodesic = np.degrees((aligned * true.rotations().inv()).magnitude())
    lengths = np.linalg.norm(translation, axis=1)
    return PoseErrors(
        geodesic=geodesic,
        euler=_euler_differences(aligned, np.asarray(true.euler_angles, float)),
        translation=translation,
        median_geodesic=float(np.median(geodesic)),
        max_geodesic=float(geodesic.max()),
        median_translation=float(np.median(lengths)),
        max_translation=float(lengths.max()),
        common_rotation=common_rotation.as_matrix(),
        common_displacement=displacement,
    )


def _common_rotation(estimated: Rotation, true: Rotation) -> Rotation:
    """Q in SO(3) that minimises ``sum |R_estimated Q - R_true|²`` (Wahba's problem, solved by an SVD)."""
    correlation = np.einsum("nji,njk->ik", estimated.as_matrix(), true.as_matrix())
    u, _, vt = np.linalg.svd(correlation)
    handedness = np.diag([1.0, 1.0, np.linalg.det(u @ vt)])
    return Rotation.from_matrix(u @ handedness @ vt)


def _common_displacement(
    aligned: Rotation, difference: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Displacement d (z, y, x) that minimises ``sum |difference + (R d)_(y, x)|²``, and what remains (tilts, 2)."""
    to_yx = aligned.as_matrix()[:, [1, 0], ::-1]  # rows y, x; columns z, y, x
    displacement, *_ = np.linalg.lstsq(to_yx.reshape(-1, 3), -difference.reshape(-1), rcond=None)
    return displacement, difference + to_yx @ displacement


def _euler_differences(aligned: Rotation, true_angles: NDArray[np.floating]) -> NDArray[np.floating]:
    """Euler angles minus the true ones, in [-180, 180), from whichever of the two equal triples is closer."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Gimbal lock")
        phi, theta, psi = aligned.as_euler("xyz", degrees=True).T
    triples = np.stack([np.stack([phi, theta, psi], 1), np.stack([phi + 180, 180 - theta, psi + 180], 1)])
    differences = (triples - true_angles + 180) % 360 - 180
    closer = np.argmin(np.sum(differences**2, axis=2), axis=0)
    return differences[closer, np.arange(len(true_angles))]
