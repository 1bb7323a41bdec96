"""A volume as a Gaussian random field, with the variances of a reconstruction, and what it causes in projections."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dptt.solvers.tomography.projections import Projections

SMOOTH = 1.0
"""Standard deviation [Å] of the Gaussian that tells the smooth part of a volume from atoms."""


def field_factors(images: Projections, matrix: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the random field as a smooth part and the rest: what unit numbers add to pixels, and deviations [V]."""
    widths = [SMOOTH / size for size in images.voxel_size]
    smooth = _blurred(images.volume, widths)
    depth, _, width = images.volume.shape
    seen = _blurred(matrix.reshape(-1, depth, width), [0.0, widths[0], widths[2]]).reshape(matrix.shape)
    unit = (1 / (2 * math.sqrt(math.pi))) ** 2 / (widths[0] * widths[2])  # sum of the squares of the kernel
    return [
        (matrix, _deviation(images.volume - smooth, images.specimen)),
        (seen / math.sqrt(unit), _deviation(smooth, images.specimen)),
    ]


def _blurred(tensor: Float[Tensor, "a b c"], widths: Sequence[float]) -> Float[Tensor, "a b c"]:
    """Return the convolution with Gaussians of these standard deviations [elements], zero outside."""
    for axis, sigma in enumerate(widths):
        if sigma > 0:
            n = torch.arange(tensor.shape[axis], dtype=torch.float64)
            kernel = torch.exp(-((n - n[:, None]) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
            tensor = torch.tensordot(kernel, tensor, dims=([1], [axis])).movedim(0, axis)
    return tensor


def _deviation(volume: Float[Tensor, "z y x"], specimen: Float[Tensor, "z y x"]) -> Float[Tensor, "z y x"]:
    """Return the root mean square of the voxels inside and outside of the specimen."""
    squares, variance = volume.square(), torch.zeros_like(volume)
    for share in (specimen, 1 - specimen):
        variance += share * (squares * share).sum() / share.sum()
    return variance.sqrt()


def projection_matrix(images: Projections, window: Sequence[int]) -> Float[Tensor, "pixel voxel"]:
    """Return what voxel (z, x) of a row adds to pixel (tilt, x) of that row [Å]: linear interpolation."""
    depth, _, width = images.volume.shape
    sizes = images.voxel_size
    z, x = images.coordinates(0), images.coordinates(2)
    matrix = torch.zeros((len(window), width, depth * width), dtype=torch.float64)
    voxels = torch.arange(depth * width)
    for place, tilt in enumerate(window):
        theta = math.radians(images.angles[tilt, 1].item())
        across = x * math.cos(theta) + z[:, None] * math.sin(theta) + images.shifts[tilt].item()
        pixel = ((across - x[0]) / sizes[2]).reshape(-1)
        low = pixel.floor()
        for step, share in ((0, 1 - (pixel - low)), (1, pixel - low)):
            index = low.long() + step
            inside: Bool[Tensor, " voxel"] = (index >= 0) & (index < width)
            matrix[place, index[inside], voxels[inside]] += share[inside]
    return matrix.reshape(-1, depth * width) * sizes[0]
