"""`pose_derivatives` on a GPU: slopes of the trilinear interpolation, computed where they are used.

A program takes some pixels of one slice through all its planes; slices and blocks are added in their order.
"""

import torch
import triton.language as tl
from torch import Tensor

from dptt.kernels.rotation import SlabRows
from dptt.kernels.triton.language import BLOCK, blocks, kernel, on_device_of, parts_of
from dptt.kernels.triton.rotation import row_of, tap

_SIZE = tl.constexpr(BLOCK)


def pose_derivatives(
    volume: Tensor, map_: Tensor, slice_gradient: Tensor, voxel_thickness: float, rows: SlabRows
) -> tuple[Tensor, Tensor]:
    """Return dL/d(map) and the moments, of the rows `rows.target`, as `kernels.rotation.pose_derivatives` does."""
    num_slices, height, width = slice_gradient.shape
    grid = num_slices, blocks(height * width)
    moments = volume.new_zeros((num_slices, 3, 2, height, width))
    sums = torch.zeros((*grid, 3, 4), dtype=torch.float64, device=volume.device)
    if volume.numel() and slice_gradient.numel():
        with on_device_of(volume):
            _derivatives[grid](
                sums,
                parts_of(moments),
                parts_of(volume.resolve_conj().contiguous()),
                parts_of(slice_gradient.resolve_conj().contiguous()),
                map_.detach().to(volume.device, torch.float64).contiguous(),
                *(volume.shape[0], rows.height, volume.shape[2]),
                *(rows.source.start, len(rows.source), rows.target.start, len(rows.target)),
                PARTS=2 if volume.is_complex() else 1,
            )
    gradient = sums.sum((0, 1)).mul_(voxel_thickness)
    return gradient.to(map_.device, map_.dtype), moments.sum(0).mul_(voxel_thickness)


@kernel
def _slope(low, OFFSET: tl.constexpr, length):
    """Return how the weight of a tap changes along its axis; see `tap`."""
    index = low.to(tl.int64) + OFFSET
    return tl.where((index >= 0) & (index < length), 2.0 * OFFSET - 1.0, 0.0)


@kernel
def _derivatives(
    sums, moments, volume, residual, map_, depth, height, width, first_given, given, first_row, rows,
    PARTS: tl.constexpr,
):  # fmt: skip
    num_slices, slice_ = tl.num_programs(0), tl.program_id(0)
    pixel = tl.program_id(1) * _SIZE + tl.arange(0, _SIZE)
    valid, part = pixel < rows * width, tl.arange(0, PARTS)[None, :]
    y = (pixel // width + first_row - height // 2).to(tl.float64)
    x = (pixel % width - width // 2).to(tl.float64)
    here = (slice_.to(tl.int64) * rows * width + pixel)[:, None] * PARTS + part
    force = tl.load(residual + here, mask=valid[:, None], other=0.0)
    planes = depth // num_slices
    for axis in tl.static_range(3):
        sum_ = tl.zeros([_SIZE, PARTS], tl.float32)
        moment = tl.zeros([_SIZE, PARTS], tl.float32)
        for plane in range(planes):
            z = slice_ * planes + plane - depth // 2
            at_z = row_of(map_, 0, z.to(tl.float64), y, x) + (tl.load(map_ + 3) + depth // 2)
            at_y = row_of(map_, 1, z.to(tl.float64), y, x) + (tl.load(map_ + 7) + height // 2)
            at_x = row_of(map_, 2, z.to(tl.float64), y, x) + (tl.load(map_ + 11) + width // 2)
            low_z, low_y, low_x = tl.floor(at_z), tl.floor(at_y), tl.floor(at_x)
            fraction_z, fraction_y = (at_z - low_z).to(tl.float32), (at_y - low_y).to(tl.float32)
            fraction_x = (at_x - low_x).to(tl.float32)
            along = tl.zeros([_SIZE, PARTS], tl.float32)
            for a in tl.static_range(2):
                i, weight_z = tap(low_z, fraction_z, a, depth)
                for b in tl.static_range(2):
                    j, weight_y = tap(low_y - first_given, fraction_y, b, given)
                    for c in tl.static_range(2):
                        k, weight_x = tap(low_x, fraction_x, c, width)
                        if axis == 0:
                            weight = _slope(low_z, a, depth) * weight_y * weight_x
                        elif axis == 1:
                            weight = weight_z * _slope(low_y - first_given, b, given) * weight_x
                        else:
                            weight = weight_z * weight_y * _slope(low_x, c, width)
                        place = ((i * given + j) * width + k)[:, None] * PARTS + part
                        there = (valid & (weight != 0))[:, None]
                        along += tl.load(volume + place, mask=there, other=0.0) * weight[:, None]
            sum_ += along
            moment += along * z.to(tl.float32)
        # of this slice (slice, axis, 2, y, x)
        first = (slice_.to(tl.int64) * 6 + 2 * axis) * rows * width + pixel
        tl.store(moments + first[:, None] * PARTS + part, sum_, mask=valid[:, None])
        tl.store(moments + (first + rows * width)[:, None] * PARTS + part, moment, mask=valid[:, None])
        block = sums + ((slice_ * tl.num_programs(1) + tl.program_id(1)) * 3 + axis) * 4
        work = tl.sum(force * sum_, 1).to(tl.float64)
        tl.store(block, tl.sum(tl.sum(force * moment, 1).to(tl.float64), 0))
        tl.store(block + 1, tl.sum(work * y, 0))
        tl.store(block + 2, tl.sum(work * x, 0))
        tl.store(block + 3, tl.sum(work, 0))
