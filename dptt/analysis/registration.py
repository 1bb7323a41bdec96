"""Rotation and translation that register a reconstruction with a reference before they are compared.

A tilt series does not determine the position of the specimen (see `translation`), nor its orientation if angles are
refined; neither is an error of the reconstruction. The motion of least squared difference is found by Gauss-Newton
from coarse to fine grids, from where the volume lies and, where that does not convince, from the motion that joins
most peaks of the two. The correlation after the motion is the figure of merit.

Moved volumes and derivatives are made slab by slab: beside the two volumes, only spline coefficients of one of them
are as large as a volume.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dptt.analysis.atom_registration import register_atoms
from dptt.analysis.atoms import strongest_peaks
from dptt.analysis.grid import VoxelSize, check_volumes, coordinate_axes, slabs
from dptt.analysis.resampling import resample_volume, spline_coefficients, transformed_slabs

Motion = tuple[NDArray[np.floating], NDArray[np.floating]]
"""Rotation (3, 3) and translation (3,)."""
COARSENING = (4, 2, 1)
"""Factors of the voxel size in the rigid registration; four voxels are one voxel of the coarsest grid."""
CONVINCING = 0.7
"""Correlation from which a registration is not searched any further."""
PEAKS, PEAK_SEPARATION, PEAK_DISTANCE = 400, 1.5, 1.0
"""Strongest peaks of each volume that are joined, their smallest separation and largest distance in a pair [Å]."""


@dataclass(frozen=True)
class RigidRegistration:
    """The motion ``r -> rotation @ r + translation`` that registers a volume with its reference.

    Attributes
    ----------
    rotation : array (3, 3)
        Acts on (z, y, x) vectors from the centre; ``rotation[::-1, ::-1]`` acts on (x, y, z) ones.
    translation : array (3,)
        (z, y, x) [Å].
    angle : float
        Of the rotation [degrees].
    correlation : float
        Pearson correlation of the reference and the moved volume: the figure of merit; 0 where either is constant.
    """

    rotation: NDArray[np.floating]
    translation: NDArray[np.floating]
    angle: float
    correlation: float


def register_rigid(
    reference: NDArray[np.floating],
    volume: NDArray[np.floating],
    voxel_size: VoxelSize,
    max_iterations: int = 30,
) -> RigidRegistration:
    """Rotation and translation that register a real ``volume`` with ``reference``, for `transform_volume`.

    A scale and a constant offset between the two are fitted too. From where the volume lies, the range is a few
    degrees: the rim of the object must not be displaced by more than about four voxels. Volumes with peaks, such as
    atoms, are registered from rotations up to 50° and any translation. Of all results and the motion "none", the one
    of the highest correlation is returned; finite volumes never raise.

    Parameters
    ----------
    max_iterations : int
        Maximum number of Gauss-Newton steps on each grid.
    """
    check_volumes(reference, volume)
    reference, volume = (np.asarray(each, np.result_type(each, np.float32)) for each in (reference, volume))
    unmoved = (np.eye(3), np.zeros(3))
    if np.ptp(reference) == 0 or np.ptp(volume) == 0:
        return RigidRegistration(*unmoved, angle=0.0, correlation=0.0)
    coefficients = spline_coefficients(volume).real
    best = _judged(reference, coefficients, voxel_size, unmoved)
    if min(reference.shape) < 2:
        return best
    for start in (lambda: unmoved, lambda: _motion_of_peaks(reference, volume, voxel_size)):
        motion = _gauss_newton(reference, volume, coefficients, voxel_size, start(), max_iterations)
        best = max(best, _judged(reference, coefficients, voxel_size, motion), key=lambda one: one.correlation)
        if best.correlation >= CONVINCING:
            break
    return best


def _judged(
    reference: NDArray[np.floating], coefficients: NDArray[np.floating], voxel_size: VoxelSize, motion: Motion
) -> RigidRegistration:
    """Return a motion of the volume that has these spline coefficients, with the correlation after it."""
    mean, about = (float(each.mean(dtype=np.float64)) for each in (reference, coefficients))
    products = np.zeros(3)  # of the reference from its mean, and of the moved volume from about its mean
    total = 0.0
    for part, slab in transformed_slabs(coefficients, *motion, voxel_size):
        a, b = reference[part].astype(np.float64) - mean, slab.astype(np.float64) - about
        products += np.vdot(a, a), np.vdot(a, b), np.vdot(b, b)
        total += float(b.sum())
    norm = np.sqrt(products[0]) * np.sqrt(max(products[2] - total * (total / reference.size), 0.0))
    correlation = float(products[1] / norm) if norm > 0 else 0.0
    angle = float(np.degrees(Rotation.from_matrix(motion[0]).magnitude()))
    return RigidRegistration(*motion, angle, correlation)


def _motion_of_peaks(reference: NDArray[np.floating], volume: NDArray[np.floating], voxel_size: VoxelSize) -> Motion:
    """Return the motion of the volume that joins most of its strongest peaks with those of the reference."""
    fixed, moving = (strongest_peaks(one, voxel_size, PEAK_SEPARATION, PEAKS) for one in (reference, volume))
    match = register_atoms(moving, fixed, PEAK_DISTANCE).match
    return match.rotation, match.translation


def _gauss_newton(
    reference: NDArray[np.floating],
    volume: NDArray[np.floating],
    coefficients: NDArray[np.floating],
    voxel_size: VoxelSize,
    start: Motion,
    max_iterations: int,
) -> Motion:
    """Return the motion of least squared difference near a start, or the last usable one on the way.

    The coefficients are those of the volume.
    """
    rotation, translation = start
    for factor in COARSENING:
        coarse = (factor * voxel_size[0], factor * voxel_size[1], factor * voxel_size[2])
        if factor > 1 and min(reference.shape) < 8 * factor:
            continue
        fixed = reference if factor == 1 else resample_volume(reference, voxel_size, coarse).real
        moving = (
            coefficients if factor == 1 else spline_coefficients(resample_volume(volume, voxel_size, coarse)).real
        )
        normal = np.zeros((8, 8))
        for part in slabs(fixed.shape):
            tangent = _tangent_motions(fixed, coarse, part)
            normal += tangent @ tangent.T
        radius = 0.5 * float(np.linalg.norm(np.multiply(fixed.shape, coarse)))
        for _ in range(max_iterations):
            right = np.zeros(8)
            for part, slab in transformed_slabs(moving, rotation, translation, coarse):
                right += _tangent_motions(fixed, coarse, part) @ slab.astype(np.float64).ravel()
            motion = _step(normal, right, radius)
            if motion is None:
                break
            step = Rotation.from_rotvec(motion[:3]).as_matrix()
            rotation, translation = step.T @ rotation, step.T @ (translation - motion[3:])
            if np.linalg.norm(motion[:3]) * radius + np.linalg.norm(motion[3:]) < 1e-3 * min(coarse):
                break
    return rotation, translation


def _step(normal: NDArray[np.floating], right: NDArray[np.floating], radius: float) -> NDArray[np.floating] | None:
    """Return rotation and shift (6,) of the scaled reference; None where the volume does not determine any.

    That is a moved volume without contrast, or one that is not similar to the reference: its scale is near zero.
    """
    try:
        solution = np.linalg.solve(normal, right)
    except np.linalg.LinAlgError:
        return None
    with np.errstate(all="ignore"):
        motion = solution[:6] / solution[6]
    usable = np.isfinite(motion).all() and np.linalg.norm(motion[:3]) < 1 and np.linalg.norm(motion[3:]) < radius
    return motion if usable else None


def _tangent_motions(volume: NDArray[np.floating], voxel_size: VoxelSize, part: slice) -> NDArray[np.floating]:
    """Rows (8, voxels) of some planes: derivatives by rotations about and shifts along z, y, x, the volume, ones."""
    first = max(part.start - 1, 0)
    piece = volume[first : part.stop + 1].astype(np.float64)  # with a neighbour on either side for the slope along z
    own = slice(part.start - first, part.stop - first)
    slopes = [np.asarray(slope)[own] for slope in np.gradient(piece, *voxel_size)]
    axes = coordinate_axes(volume.shape, voxel_size)  # type: ignore[arg-type]
    z, y, x = np.meshgrid(axes[0][part], *axes[1:], indexing="ij", sparse=True)
    # content moved by w × r + t changes by -grad · (w × r + t); the cross product is taken on (z, y, x) components
    rotations = [slopes[1] * x - slopes[2] * y, slopes[2] * z - slopes[0] * x, slopes[0] * y - slopes[1] * z]
    rows = [*rotations, *(-slope for slope in slopes), piece[own], np.ones_like(piece[own])]
    return np.stack([row.ravel() for row in rows])
