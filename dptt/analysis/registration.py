"""Registration of a reconstruction with a reference before they are compared.

A tilt series does not determine the position of the specimen, nor its orientation if angles are refined; neither is
an error of the reconstruction. Both registrations minimise the squared difference. The translation maximises the
continuous cross-correlation, which needs no upsampling; the rigid motion uses Gauss-Newton from coarse to fine grids,
from where the volume lies and, where that does not convince, from the motion that joins most peaks of the two. The
correlation after the motion is the figure of merit.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.optimize
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dptt.analysis.atom_registration import register_atoms
from dptt.analysis.atoms import strongest_peaks
from dptt.analysis.grid import VoxelSize, check_volumes, coordinate_axes
from dptt.analysis.resampling import resample_volume, transform_volume

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


def register_translation(
    reference: NDArray[np.number], volume: NDArray[np.number], voxel_size: VoxelSize
) -> NDArray[np.floating]:
    """Shift (z, y, x) [Å] for `shift_volume` that registers ``volume`` with ``reference``, to a fraction of a voxel.

    Newton steps within a trust region lead from the highest voxel of the periodic cross-correlation to the maximum of
    the trigonometric polynomial through all voxels.

    Raises
    ------
    ValueError
        If the shapes differ, or a volume is constant.
    """
    check_volumes(reference, volume)
    product = scipy.fft.fftn(reference) * scipy.fft.fftn(volume).conj()
    product[0, 0, 0] = 0  # the mean does not depend on the shift
    shape = np.array(product.shape)
    correlation = scipy.fft.ifftn(product).real
    start = np.array(np.unravel_index(np.argmax(correlation), product.shape), dtype=float)
    start = (start + shape // 2) % shape - shape // 2
    scale = float(np.abs(product).sum())
    if scale == 0:
        raise ValueError("a volume is constant, so it has no position; expected two volumes with contrast")

    def derivatives(shift: NDArray[np.floating]) -> NDArray[np.floating]:
        """Tensor (3, 3, 3): derivatives of order 0, 1, 2 of the correlation along z, y and x."""
        phases = []
        for n, s in zip(product.shape, shift, strict=True):
            k = 2j * np.pi * np.fft.fftfreq(n)
            phases.append(np.exp(k * s) * k ** np.arange(3)[:, None])
            if n % 2 == 0:
                phases[-1][:, n // 2] = 0  # the Nyquist plane has no position between voxels
        along_x = product @ phases[2].T.astype(product.dtype)
        along_yx = np.einsum("zya,by->zba", along_x, phases[1])
        return -np.einsum("zba,cz->cba", along_yx, phases[0]).real / scale

    def gradient(shift: NDArray[np.floating]) -> NDArray[np.floating]:
        d = derivatives(shift)
        return np.array([d[1, 0, 0], d[0, 1, 0], d[0, 0, 1]])

    def hessian(shift: NDArray[np.floating]) -> NDArray[np.floating]:
        d = derivatives(shift)
        zy, zx, yx = d[1, 1, 0], d[1, 0, 1], d[0, 1, 1]
        return np.array([[d[2, 0, 0], zy, zx], [zy, d[0, 2, 0], yx], [zx, yx, d[0, 0, 2]]])

    maximum = scipy.optimize.minimize(
        lambda shift: derivatives(shift)[0, 0, 0],
        start,
        jac=gradient,
        hess=hessian,
        method="trust-exact",
        options={"initial_trust_radius": 0.3, "max_trust_radius": 0.6, "gtol": 1e-9, "maxiter": 30},
    )
    return maximum.x * voxel_size


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
    reference, volume = np.asarray(reference, dtype=float), np.asarray(volume, dtype=float)
    unmoved = (np.eye(3), np.zeros(3))
    best = _judged(reference, volume, voxel_size, unmoved)
    if min(reference.shape) < 2 or np.ptp(reference) == 0 or np.ptp(volume) == 0:
        return best
    for start in (lambda: unmoved, lambda: _motion_of_peaks(reference, volume, voxel_size)):
        motion = _gauss_newton(reference, volume, voxel_size, start(), max_iterations)
        best = max(best, _judged(reference, volume, voxel_size, motion), key=lambda one: one.correlation)
        if best.correlation >= CONVINCING:
            break
    return best


def _judged(
    reference: NDArray[np.floating], volume: NDArray[np.floating], voxel_size: VoxelSize, motion: Motion
) -> RigidRegistration:
    rotation, translation = motion
    moved = transform_volume(volume, rotation, translation, voxel_size)
    a, b = reference - reference.mean(), moved - moved.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    correlation = float(np.sum(a * b)) / norm if norm > 0 else 0.0
    angle = float(np.degrees(Rotation.from_matrix(rotation).magnitude()))
    return RigidRegistration(rotation, translation, angle, correlation)


def _motion_of_peaks(reference: NDArray[np.floating], volume: NDArray[np.floating], voxel_size: VoxelSize) -> Motion:
    """Return the motion of the volume that joins most of its strongest peaks with those of the reference."""
    fixed, moving = (strongest_peaks(one, voxel_size, PEAK_SEPARATION, PEAKS) for one in (reference, volume))
    match = register_atoms(moving, fixed, PEAK_DISTANCE).match
    return match.rotation, match.translation


def _gauss_newton(
    reference: NDArray[np.floating],
    volume: NDArray[np.floating],
    voxel_size: VoxelSize,
    start: Motion,
    max_iterations: int,
) -> Motion:
    """Return the motion of least squared difference near a start, or the last usable one on the way."""
    rotation, translation = start
    for factor in COARSENING:
        coarse = (factor * voxel_size[0], factor * voxel_size[1], factor * voxel_size[2])
        if factor > 1 and min(reference.shape) < 8 * factor:
            continue
        fixed = resample_volume(reference, voxel_size, coarse) if factor > 1 else reference
        moving = resample_volume(volume, voxel_size, coarse) if factor > 1 else volume
        tangent = _tangent_motions(np.asarray(fixed, dtype=float), coarse)
        normal = tangent @ tangent.T
        radius = 0.5 * float(np.linalg.norm(np.multiply(fixed.shape, coarse)))
        for _ in range(max_iterations):
            moved = transform_volume(moving, rotation, translation, coarse)
            motion = _step(normal, np.asarray(tangent @ moved.ravel(), dtype=float), radius)
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


def _tangent_motions(volume: NDArray[np.floating], voxel_size: VoxelSize) -> NDArray[np.floating]:
    """Rows (8, voxels): derivatives by rotations about and shifts along z, y, x, then the volume, then ones."""
    slopes = np.gradient(volume, *voxel_size)
    z, y, x = np.meshgrid(*coordinate_axes(volume.shape, voxel_size), indexing="ij", sparse=True)  # type: ignore[arg-type]
    # content moved by w × r + t changes by -grad · (w × r + t); the cross product is taken on (z, y, x) components
    rotations = [slopes[1] * x - slopes[2] * y, slopes[2] * z - slopes[0] * x, slopes[0] * y - slopes[1] * z]
    rows = [*rotations, *(-slope for slope in slopes), volume, np.ones_like(volume)]
    return np.stack([row.ravel() for row in rows])
