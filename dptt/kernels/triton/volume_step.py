"""The steps of a volume on a GPU: every voxel is read and written once in each."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from dptt.kernels.triton.language import kernel, on_device_of, parts_of
from dptt.kernels.volume_step import Thresholds

_BLOCK = 4096


def advance_(volume: Tensor, velocity: Tensor, update: Tensor, momentum: float, step: float) -> Tensor:
    """Move the volume with momentum and return the sums of (Re V)² and (Re V)⁴."""
    values, speeds, changes = (parts_of(tensor) for tensor in (volume, velocity, update))
    return _advanced(values, speeds, changes, momentum, step, 2 if volume.is_complex() else 1)


def _advanced(values: Tensor, speeds: Tensor, changes: Tensor, momentum: float, step: float, parts: int) -> Tensor:
    count = values.numel()
    grid = (triton.cdiv(count, _BLOCK),)
    sums = torch.zeros((*grid, 2), dtype=torch.float64, device=values.device)
    if count:
        with on_device_of(values):
            _advance[grid](values, speeds, changes, sums, momentum, step, count, parts, _BLOCK)
    return sums.sum(0)


def move_(volume: Tensor, velocity: Tensor, step: float) -> Tensor:
    """Do `advance_` with a velocity that holds the update already."""
    values, speeds = parts_of(volume), parts_of(velocity)
    return _advanced(values, speeds, speeds, 0.0, step, 2 if volume.is_complex() else 1)


def threshold_(volume: Tensor, thresholds: Thresholds) -> None:
    """Constrain a volume by `thresholds`, in place."""
    values = parts_of(volume)
    real = 1 - thresholds.negative, thresholds.shrinkage
    imaginary = 1 - thresholds.negative_absorption, thresholds.absorption_shrinkage
    choices = (*real, *(imaginary if volume.is_complex() else real))
    if values.numel():
        with on_device_of(volume):
            _threshold[(triton.cdiv(values.numel(), _BLOCK),)](values, *map(float, choices), values.numel(), _BLOCK)


@kernel
def _advance(values, speeds, changes, sums, momentum, step, count, PARTS: tl.constexpr, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid = place < count
    speed = tl.load(speeds + place, mask=valid, other=0.0) * momentum
    speed += tl.load(changes + place, mask=valid, other=0.0)
    value = tl.load(values + place, mask=valid, other=0.0) - step * speed
    tl.store(speeds + place, speed, mask=valid)
    tl.store(values + place, value, mask=valid)
    square = tl.where(place % PARTS == 0, value * value, 0.0)
    tl.store(sums + 2 * tl.program_id(0), tl.sum(square.to(tl.float64), 0))
    tl.store(sums + 2 * tl.program_id(0) + 1, tl.sum((square * square).to(tl.float64), 0))


@kernel
def _threshold(values, keep_real, shrink_real, keep_imaginary, shrink_imaginary, count, BLOCK: tl.constexpr):
    """Real and imaginary parts in turn; of a real volume both pairs of numbers are the same."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid = place < count
    value = tl.load(values + place, mask=valid, other=0.0)
    even = place % 2 == 0
    value = tl.where(value < 0, value * tl.where(even, keep_real, keep_imaginary), value)
    shrink = tl.where(even, shrink_real, shrink_imaginary)
    # written so that NaN stays NaN
    shrunk = tl.where(value > shrink, value - shrink, tl.where(value < -shrink, value + shrink, value * 0))
    tl.store(values + place, tl.where(shrink > 0, shrunk, value), mask=valid)
