"""Patches of the slices under the probe: extraction C_w and its adjoint ([P] eq. 8).

A scan position p [Å] puts the centre (index n//2) of the probe window at image coordinate c + p/d, where c is the
image's centre index. `split_positions` divides it into the integer corner of the window and a sub-pixel
remainder, which shifts the probe instead of the patch.
"""

import torch
from jaxtyping import Float, Inexact, Int
from torch import Tensor


def split_positions(
    positions: Float[Tensor, "pos 2"],
    sampling: tuple[float, float],
    image_shape: tuple[int, int],
    window_shape: tuple[int, int],
) -> tuple[Int[Tensor, "pos 2"], Float[Tensor, "pos 2"]]:
    """Return the window corners (y, x) [pixels] and the remainders [pixels] within ±1/2 of `positions` [Å]."""
    pixels = positions / positions.new_tensor(sampling)
    nearest = torch.round(pixels)
    offset = torch.tensor([i // 2 - w // 2 for i, w in zip(image_shape, window_shape, strict=True)])
    return nearest.to(torch.int64) + offset.to(positions.device), pixels - nearest


def extract_patches(
    slices: Inexact[Tensor, "slice Y X"], corners: Int[Tensor, "pos 2"], window_shape: tuple[int, int]
) -> Inexact[Tensor, "pos slice y x"]:
    """Return the windows of every slice at `corners`; beyond the border the image repeats periodically.

    A run refuses positions beyond the border of a non-periodic volume when it starts, so windows wrap around only in
    periodic cells.
    """
    rows, columns = _window_indices(slices.shape, corners, window_shape)
    return slices[:, rows[:, :, None], columns[:, None, :]].movedim(1, 0)


def accumulate_patches(
    patches: Inexact[Tensor, "pos slice y x"], corners: Int[Tensor, "pos 2"], image_shape: tuple[int, int]
) -> Inexact[Tensor, "slice Y X"]:
    """Add patches back into an image at `corners`: the exact adjoint of `extract_patches`."""
    image = patches.new_zeros((patches.shape[1], *image_shape))
    rows, columns = _window_indices(image.shape, corners, (patches.shape[-2], patches.shape[-1]))
    flat = (rows[:, :, None] * image_shape[1] + columns[:, None, :]).flatten()
    image.view(len(image), -1).index_add_(1, flat, patches.movedim(1, 0).reshape(len(image), -1))
    return image


def _window_indices(
    image_shape: torch.Size | tuple[int, ...], corners: Tensor, window_shape: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    rows = (corners[:, :1] + torch.arange(window_shape[0], device=corners.device)) % image_shape[-2]
    columns = (corners[:, 1:] + torch.arange(window_shape[1], device=corners.device)) % image_shape[-1]
    return rows, columns
