"""Slices on a finer grid than the volume: band-limited interpolation, and its exact adjoint.

Waves need finer pixels than the volume: a wave that scatters beyond the Nyquist angle of its own grid returns on the
opposite side of the pattern, as if it had been scattered there. On the finer grid the potential is the same function:
the sum of the waves that the voxels hold, up to their Nyquist frequency, which is left out because its phase is not
known. As matrices along y and x it costs little beside the waves, for all scan positions at once.
"""

import math
from functools import lru_cache

import torch
from jaxtyping import Float, Inexact
from torch import Tensor


@lru_cache(maxsize=16)
def interpolation_matrix(voxels: int, pixels: int) -> Float[Tensor, "pixel voxel"]:
    """Return the periodic band-limited interpolation of an axis of `voxels` at `pixels` points of the same length.

    Voxel voxels//2 and pixel pixels//2 are the same point. Double precision.
    """
    waves = 2 * math.pi * torch.arange(1, (voxels + 1) // 2, dtype=torch.float64)
    at_voxels, at_pixels = (
        torch.outer((torch.arange(n, dtype=torch.float64) - n // 2) / n, waves) for n in (voxels, pixels)
    )
    even, odd = at_pixels.cos() @ at_voxels.cos().T, at_pixels.sin() @ at_voxels.sin().T
    return (1 + 2 * (even + odd)) / voxels


def refine_slices(slices: Inexact[Tensor, "slice y x"], shape: tuple[int, int]) -> Inexact[Tensor, "slice v u"]:
    """Return slices on a grid of `shape` pixels of the same size [Å]."""
    along_y, along_x = _matrices(slices, (slices.shape[1], slices.shape[2]), shape)
    return along_y @ slices @ along_x.T


def coarsen_slices(gradient: Inexact[Tensor, "slice v u"], shape: tuple[int, int]) -> Inexact[Tensor, "slice y x"]:
    """Return the exact adjoint of `refine_slices` from slices of `shape`: it keeps sums, not values."""
    along_y, along_x = _matrices(gradient, shape, (gradient.shape[1], gradient.shape[2]))
    return along_y.T @ gradient @ along_x


def _matrices(like: Tensor, voxels: tuple[int, int], pixels: tuple[int, int]) -> tuple[Tensor, Tensor]:
    along_y, along_x = (interpolation_matrix(n, m).to(like) for n, m in zip(voxels, pixels, strict=True))
    return along_y, along_x
