"""Fourier transforms of whole volumes with few of their planes in memory at a time.

A spectrum in double precision is four times as large as its volume in single precision, and a comparison needs two.
Rows are therefore transformed along x, and only a block of the frequencies along x is kept and transformed along z
and y. The next block transforms the rows again: cheap beside the other two axes, and nothing is rounded.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.fft
from numpy.typing import NDArray

LEAST_BYTES = 128 * 2**20
"""Spectra up to this size are kept whole."""
MOST_BLOCKS = 8
"""Of a larger one, half of which is kept if the volumes are real: a quarter of each volume in single precision."""

Plane = NDArray[np.complexfloating]


def fourier_planes(volumes: Sequence[NDArray[np.number]]) -> Iterator[tuple[int, list[Plane]]]:
    """Yield planes (z, y) across kx of the transforms of volumes (z, y, x) of one shape, all axes in FFT order.

    With every plane comes its index along kx. Of real volumes the planes of negative kx are left out, see `is_half`.
    """
    depth, height, width = volumes[0].shape
    half = is_half(volumes)
    count = width // 2 + 1 if half else width
    plane_bytes = 16 * depth * height * len(volumes)
    at_once = min(count, max(LEAST_BYTES // max(plane_bytes, 1), -(-count // MOST_BLOCKS)))
    for first in range(0, count, at_once):
        kept = slice(first, min(first + at_once, count))
        blocks = [_block(volume, kept, half) for volume in volumes]
        for offset in range(kept.stop - first):
            yield first + offset, [block[offset].copy() for block in blocks]  # a view would keep the block in memory
        del blocks


def is_half(volumes: Sequence[NDArray[np.number]]) -> bool:
    """Return whether the transforms at ``-k`` are the conjugates of those at ``k``: all volumes are real."""
    return not any(np.iscomplexobj(volume) for volume in volumes)


def _block(volume: NDArray[np.number], kept: slice, half: bool) -> Plane:
    """Planes (kx, z, y) of the transform of a volume."""
    depth, height, _ = volume.shape
    block = np.empty((kept.stop - kept.start, depth, height), np.complex128)
    for z, plane in enumerate(volume):
        rows = scipy.fft.rfft(plane.astype(np.float64)) if half else scipy.fft.fft(plane.astype(np.complex128))
        block[:, z] = rows[:, kept].T
    return np.asarray(scipy.fft.fftn(block, axes=(1, 2), overwrite_x=True))
