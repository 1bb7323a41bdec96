"""The translation that registers a reconstruction with a reference before they are compared.

A tilt series does not determine the position of the specimen, so its error is none of the reconstruction. The shift
of least squared difference maximises the continuous cross-correlation, which needs no upsampling. Spectra have the
precision of the volumes, and half their size if those are real: beside the two volumes, two arrays of their size are
in memory.
"""

import numpy as np
import scipy.fft
import scipy.optimize
from numpy.typing import NDArray

from dptt.analysis.grid import Shape, VoxelSize, check_volumes


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
    shape = check_volumes(reference, volume)
    product = _cross_spectrum(reference, volume)
    start = _highest_correlation(product, shape)
    times = _times(product.shape[2], shape[2])
    scale = sum(float((np.abs(plane) * times).sum(dtype=np.float64)) for plane in product)
    if scale == 0:
        raise ValueError("a volume is constant, so it has no position; expected two volumes with contrast")

    def derivatives(shift: NDArray[np.floating]) -> NDArray[np.floating]:
        """Tensor (3, 3, 3): derivatives of order 0, 1, 2 of the correlation along z, y and x."""
        phases = []
        for n, kept, s in zip(shape, product.shape, shift, strict=True):
            k = 2j * np.pi * np.fft.fftfreq(n)[:kept]
            phases.append(np.exp(k * s) * k ** np.arange(3)[:, None])
            if n % 2 == 0:
                phases[-1][:, n // 2] = 0  # the Nyquist plane has no position between voxels
        phases[2] *= times
        along_x = np.stack([plane @ phases[2].T for plane in product])  # in double precision
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


def _cross_spectrum(reference: NDArray[np.number], volume: NDArray[np.number]) -> NDArray[np.complexfloating]:
    """Product (z, y, kx) of one transform and the conjugate of the other; half of it if both volumes are real.

    It is zero at zero frequency, because the mean does not depend on the shift.
    """
    is_complex = np.iscomplexobj(reference) or np.iscomplexobj(volume)
    transform = scipy.fft.fftn if is_complex else scipy.fft.rfftn
    product, other = transform(reference), transform(volume)
    np.conjugate(other, out=other)
    product *= other
    product[0, 0, 0] = 0
    return np.asarray(product)


def _times(kept: int, width: int) -> NDArray[np.floating]:
    """How many of the frequencies of a row of a width each of those stands for that were kept: itself, or ±k."""
    times = np.full(kept, 1.0 if kept == width else 2.0)
    times[0] = 1.0
    if width % 2 == 0:
        times[width // 2] = 1.0
    return times


def _highest_correlation(product: NDArray[np.complexfloating], shape: Shape) -> NDArray[np.floating]:
    """Voxels (z, y, x) to shift by for the highest voxel of the cross-correlation."""
    highest, start = -np.inf, (0, 0, 0)
    along_x = scipy.fft.ifftn(product, axes=(0, 1))
    whole = product.shape == shape
    for z, rows in enumerate(along_x):
        plane = scipy.fft.ifft(rows).real if whole else scipy.fft.irfft(rows, shape[2])
        y, x = np.unravel_index(np.argmax(plane), plane.shape)
        if plane[y, x] > highest:
            highest, start = plane[y, x], (z, int(y), int(x))
    half = np.array(shape) // 2
    return (np.array(start, dtype=float) + half) % shape - half
