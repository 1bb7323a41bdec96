"""Adding windows into a periodic image, window by window in the order of the positions, without atomics.

A program owns a tile of the image and reads the windows that meet it. Every pixel of a window is read once, as it
would be by an atomic addition, but nothing is written until the sum is complete, and the sum repeats bit by bit.
Whether a window meets a tile is one comparison for the whole tile.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from dptt.kernels.triton.language import kernel, on_device_of, parts_of

_ROWS, _COLUMNS = 8, 64
"""Of a tile."""


def accumulate_(image: Tensor, patches: Tensor, corners: Tensor) -> None:
    """Add patches (slice, pos, y, x) into images (slice, Y, X) at `corners`, which are within the image.

    A complex image is a real one of twice the width.
    """
    parts = 2 if image.is_complex() else 1
    images, windows = parts_of(image).view(len(image), image.shape[1], -1), parts_of(patches)
    grid = (triton.cdiv(images.shape[1], _ROWS), triton.cdiv(images.shape[2], _COLUMNS), len(images))
    doubled = (corners * torch.tensor([1, parts], device=corners.device)).to(torch.int32)
    size = patches.shape[1], patches.shape[2], patches.shape[3] * parts
    with on_device_of(image):
        _accumulate[grid](images, windows, doubled, *size, images.shape[1], images.shape[2], _ROWS, _COLUMNS)


@kernel
def _meets(start, length, corner, window, period):
    """Return whether `length` pixels from `start` meet a window that may wrap around."""
    behind, ahead = start - corner, corner - start
    behind = tl.where(behind < 0, behind + period, behind)
    ahead = tl.where(ahead < 0, ahead + period, ahead)
    return (behind < window) | (ahead < length)


@kernel
def _accumulate(
    image, patches, corners, num_positions, height, width, image_height, image_width,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    first_row, first_column = tl.program_id(0) * ROWS, tl.program_id(1) * COLUMNS
    slice_ = tl.program_id(2).to(tl.int64)
    row, column = first_row + tl.arange(0, ROWS)[:, None], first_column + tl.arange(0, COLUMNS)[None, :]
    tile = image + (slice_ * image_height + row) * image_width + column
    there = (row < image_height) & (column < image_width)
    sum_ = tl.load(tile, mask=there, other=0.0)
    for position in range(num_positions):
        top, left = tl.load(corners + 2 * position), tl.load(corners + 2 * position + 1)
        meets = _meets(first_row, ROWS, top, height, image_height)
        if meets & _meets(first_column, COLUMNS, left, width, image_width):
            y, x = row - top, column - left
            y, x = tl.where(y < 0, y + image_height, y), tl.where(x < 0, x + image_width, x)
            place = ((slice_ * num_positions + position) * height + y) * width + x
            sum_ += tl.load(patches + place, mask=there & (y < height) & (x < width), other=0.0)
    tl.store(tile, sum_, mask=there)
