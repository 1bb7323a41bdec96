"""The steps of a volume on a GPU: every voxel is read and written once in each."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from dptt.kernels.rotation import SlabRows
from dptt.kernels.triton.language import BLOCK, blocks, kernel, on_device_of, parts_of
from dptt.kernels.triton.rotation import adjoint_arguments, gathered
from dptt.kernels.volume_step import Thresholds

_SIZE = tl.constexpr(BLOCK)

_BLOCK = 4096


def advance_(volume: Tensor, velocity: Tensor, update: Tensor, momentum: float, step: float) -> Tensor:
    """Move the volume with momentum and return the sums of (Re V)² and (Re V)⁴."""
    values, speeds, changes = (parts_of(tensor) for tensor in (volume, velocity, update))
    parts, count = 2 if volume.is_complex() else 1, values.numel()
    grid = (triton.cdiv(count, _BLOCK),)
    sums = torch.zeros((*grid, 2), dtype=torch.float64, device=volume.device)
    if count:
        with on_device_of(volume):
            _advance[grid](values, speeds, changes, sums, momentum, step, count, parts, _BLOCK)
    return sums.sum(0)


def advance_by_slices_(
    volume: Tensor,
    velocity: Tensor,
    slices: Tensor,
    map_: Tensor,
    *,
    voxel_thickness: float,
    momentum: float,
    step: float,
    rows: SlabRows,
) -> Tensor:
    """Do `advance_` with the back-projection of `slices` as the update, which stays in registers."""
    values, speeds, parts = parts_of(volume), parts_of(velocity), 2 if volume.is_complex() else 1
    shape = volume.shape[0], rows.height, volume.shape[2]
    sums = torch.zeros((blocks(volume.numel()), 2), dtype=torch.float64, device=volume.device)
    if volume.numel():
        with on_device_of(volume):
            _advance_by_slices[(len(sums),)](
                values,
                speeds,
                sums,
                momentum,
                step,
                *adjoint_arguments(slices, map_, shape, voxel_thickness, rows),
                PARTS=parts,
            )
    return sums.sum(0)


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
def _advance_by_slices(
    values, speeds, sums, momentum, step, slices, numbers, thickness, depth, height, width,
    first_given, given, first_row, rows, num_slices, box_z, box_y, box_x, PARTS: tl.constexpr,
):  # fmt: skip
    voxel = tl.program_id(0).to(tl.int64) * _SIZE + tl.arange(0, _SIZE)
    valid, part = (voxel < depth * given * width)[:, None], tl.arange(0, PARTS)[None, :]
    change = gathered(
        voxel, slices, numbers, depth, height, width,
        first_given, given, first_row, rows, num_slices, box_z, box_y, box_x, PARTS,
    )  # fmt: skip
    place = voxel[:, None] * PARTS + part
    speed = tl.load(speeds + place, mask=valid, other=0.0) * momentum + change * thickness
    value = tl.load(values + place, mask=valid, other=0.0) - step * speed
    tl.store(speeds + place, speed, mask=valid)
    tl.store(values + place, value, mask=valid)
    square = tl.where(valid & (part == 0), value * value, 0.0)
    tl.store(sums + 2 * tl.program_id(0), tl.sum(square.to(tl.float64)))
    tl.store(sums + 2 * tl.program_id(0) + 1, tl.sum((square * square).to(tl.float64)))


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
