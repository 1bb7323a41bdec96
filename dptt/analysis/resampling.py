"""Resampling of a volume at another position, on another grid or in another orientation; values keep their units.

Shifts and changes of grid are exact for band-limited periodic volumes: they evaluate the volume's trigonometric
interpolation. It is separable, so a change of grid is one small real matrix per axis, for any ratio of voxel sizes
and any two shapes. Rotations are cubic splines.
"""

from collections.abc import Iterator

import numpy as np
import scipy.fft
import scipy.ndimage
from numpy.typing import NDArray

from dptt.analysis.grid import Shape, VoxelSize, slabs


def shift_volume(
    volume: NDArray[np.number], shift: NDArray[np.floating], voxel_size: VoxelSize
) -> NDArray[np.number]:
    """Volume (z, y, x) with its content moved by ``+shift`` (z, y, x) [Å], periodically.

    A real volume stays real.
    """
    is_complex = np.iscomplexobj(volume)
    shifted = np.array(volume, dtype=np.result_type(volume, np.float32))
    for axis, (n, size) in enumerate(zip(volume.shape, voxel_size, strict=True)):
        frequency = np.fft.fftfreq(n, size) if is_complex else np.fft.rfftfreq(n, size)
        ramp = np.exp(-2j * np.pi * frequency * shift[axis])
        if n % 2 == 0:
            ramp[n // 2] = ramp[n // 2].real  # +Nyquist and -Nyquist share one coefficient: use their mean
        planes = shifted.swapaxes(0, 1) if axis == 0 else shifted  # (z, x) or (y, x), one at a time to save memory
        for plane in planes:
            rows = plane.T if axis < 2 else plane
            rows[...] = _multiplied(rows, ramp)
    return shifted


def _multiplied(rows: NDArray[np.number], response: NDArray[np.complexfloating]) -> NDArray[np.number]:
    """Rows with their Fourier transforms multiplied by a response, in double precision."""
    if np.iscomplexobj(rows):
        return np.asarray(scipy.fft.ifft(scipy.fft.fft(rows.astype(np.complex128)) * response))
    return np.asarray(scipy.fft.irfft(scipy.fft.rfft(rows.astype(np.float64)) * response, rows.shape[1]))


def resample_volume(
    volume: NDArray[np.number],
    voxel_size: VoxelSize,
    new_voxel_size: VoxelSize,
    new_shape: Shape | None = None,
) -> NDArray[np.number]:
    """Volume (z, y, x) on another grid, with voxel ``n // 2`` of both grids at the same point.

    Frequencies above the Nyquist frequency of the new grid are removed. The new grid is zero where it extends beyond
    the old one.

    Parameters
    ----------
    voxel_size, new_voxel_size : tuple
        (z, y, x) [Å].
    new_shape : tuple, optional
        By default the number of voxels that cover the old box, rounded.
    """
    if new_shape is None:
        extents = np.multiply(volume.shape, voxel_size)
        z, y, x = (max(1, round(e / size)) for e, size in zip(extents, new_voxel_size, strict=True))
        new_shape = (z, y, x)
    resampled = volume
    for axis in range(3):
        matrix = interpolation_matrix(volume.shape[axis], voxel_size[axis], new_shape[axis], new_voxel_size[axis])
        matrix = matrix.astype(np.result_type(volume.real.dtype, np.float32))
        resampled = np.moveaxis(np.tensordot(matrix, resampled, axes=(1, axis)), 0, axis)
    return resampled


def interpolation_matrix(n: int, size: float, new_n: int, new_size: float) -> NDArray[np.floating]:
    """Matrix (new_n, n) of the trigonometric interpolation from one centred axis to another, band-limited by both."""
    frequency = np.fft.rfftfreq(n, size)
    weight = np.full(len(frequency), 2.0)  # each coefficient represents +k and -k
    weight[0] = 1.0
    if n % 2 == 0:
        weight[-1] = 1.0
    weight[frequency > 0.5 / new_size * (1 + 1e-9)] = 0.0

    old, new = (np.arange(n) - n // 2) * size, (np.arange(new_n) - new_n // 2) * new_size
    offset = new[:, None] - old
    # row by row, because all cosines at once would need new_n times the memory
    matrix = np.stack([np.cos(2 * np.pi * np.multiply.outer(row, frequency)) @ weight for row in offset]) / n
    outside = (new < old[0] - size / 2 - 1e-9 * size) | (new > old[-1] + size / 2 + 1e-9 * size)
    matrix[outside] = 0.0
    return matrix


def transform_volume(
    volume: NDArray[np.number],
    rotation: NDArray[np.floating],
    translation: NDArray[np.floating],
    voxel_size: VoxelSize,
    out: NDArray[np.number] | None = None,
) -> NDArray[np.number]:
    """Volume with its content moved from ``r`` to ``rotation @ r + translation``; zero outside the old box.

    Parameters
    ----------
    rotation : array (3, 3)
        Acts on (z, y, x) vectors from the centre, voxel ``n // 2``.
    translation : array (3,)
        (z, y, x) [Å].
    out : array (z, y, x), optional
        Where to write the result; it may be `volume`.
    """
    coefficients = spline_coefficients(volume)
    moved = np.empty_like(coefficients) if out is None else out
    for part, slab in transformed_slabs(coefficients, rotation, translation, voxel_size):
        moved[part] = slab
    return moved


def spline_coefficients(volume: NDArray[np.number]) -> NDArray[np.number]:
    """Coefficients of the cubic spline through a volume, of its precision, for `transformed_slabs`."""
    return scipy.ndimage.spline_filter(volume, 3, np.result_type(volume, np.float32), mode="constant")


def transformed_slabs(
    coefficients: NDArray[np.number],
    rotation: NDArray[np.floating],
    translation: NDArray[np.floating],
    voxel_size: VoxelSize,
) -> Iterator[tuple[slice, NDArray[np.number]]]:
    """Yield the planes of a transformed volume, a few at a time, and where they belong along z.

    The volume is that of the `spline_coefficients`; see `transform_volume`.
    """
    size, shape = np.asarray(voxel_size), coefficients.shape
    centre = np.array([n // 2 for n in shape])
    matrix = np.linalg.inv(rotation) / size[:, None] * size  # output voxel -> input voxel
    origin = centre - matrix @ (centre + np.asarray(translation) / size)
    for part in slabs(shape):
        slab_shape = (part.stop - part.start, *shape[1:])
        yield (
            part,
            scipy.ndimage.affine_transform(
                coefficients,
                matrix,
                offset=origin + matrix[:, 0] * part.start,
                output_shape=slab_shape,
                output=coefficients.dtype,
                order=3,
                prefilter=False,
            ),
        )
