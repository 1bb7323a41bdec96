"""`project_slices` and `backproject_slices` on a GPU, both as a gather: no two programs add to the same number.

A pixel of a tilted plane reads eight voxels. In the adjoint a voxel reads the few pixels whose sampling points lie
within one voxel of it along every axis: those of a small box around the voxel's own place in the tilted volume. Their
weights are the ones of the projection, (1 - |distance|) along each axis. Places are in double precision, distances
within the box in single.
"""

import math

import torch
import triton.language as tl
from torch import Tensor

from dptt.kernels.rotation import SlabRows
from dptt.kernels.triton.language import BLOCK, blocks, kernel, on_device_of, parts_of

_SIZE = tl.constexpr(BLOCK)
_ROUNDING = 1e-9
"""Of a place [voxels]: the box is larger by as much."""


def project_slices(volume: Tensor, map_: Tensor, num_slices: int, voxel_thickness: float, rows: SlabRows) -> Tensor:
    """Return the rows `rows.target` of the slices of a tilted volume, from its rows `rows.source`."""
    slices = volume.new_zeros((num_slices, len(rows.target), volume.shape[2]))
    grid = num_slices, blocks(slices[0].numel())
    if volume.numel() and slices.numel():
        with on_device_of(volume):
            _project[grid](
                parts_of(slices),
                parts_of(volume.resolve_conj().contiguous()),
                map_.detach().to(volume.device, torch.float64).contiguous(),
                voxel_thickness,
                *(volume.shape[0], rows.height, volume.shape[2]),
                *(rows.source.start, len(rows.source), rows.target.start, len(rows.target)),
                PARTS=2 if volume.is_complex() else 1,
            )
    return slices


def backproject_slices(
    slices: Tensor,
    map_: Tensor,
    volume_shape: tuple[int, int, int],
    voxel_thickness: float,
    rows: SlabRows,
) -> Tensor:
    """Return the exact adjoint of `project_slices`: the rows `rows.source` of a volume of `volume_shape`."""
    volume = slices.new_zeros((volume_shape[0], len(rows.source), volume_shape[2]))
    if volume.numel() and slices.numel():
        with on_device_of(slices):
            _backproject[(blocks(volume.numel()),)](
                parts_of(volume),
                *adjoint_arguments(slices, map_, volume_shape, voxel_thickness, rows),
                PARTS=2 if slices.is_complex() else 1,
            )
    return volume


def adjoint_arguments(
    slices: Tensor,
    map_: Tensor,
    volume_shape: tuple[int, int, int],
    voxel_thickness: float,
    rows: SlabRows,
) -> tuple[Tensor | float | int, ...]:
    """Return the arguments of a kernel that calls `gathered`, in its order, the thickness behind the numbers."""
    numbers = map_.detach().to("cpu", torch.float64)
    inverse = torch.linalg.inv(numbers[:, :3])
    reach = inverse.abs().sum(1) + _ROUNDING
    box = [math.floor(2 * r) + 1 for r in reach.tolist()]
    return (
        parts_of(slices.resolve_conj().contiguous()),
        torch.cat([numbers.flatten(), inverse.flatten(), reach]).to(slices.device),
        voxel_thickness,
        *volume_shape,
        *(rows.source.start, len(rows.source), rows.target.start, len(rows.target), len(slices)),
        *box,
    )


@kernel
def row_of(map_, axis, z, y, x):
    """Return one coordinate of the linear part of the map."""
    first = map_ + 4 * axis
    return tl.load(first) * z + tl.load(first + 1) * y + tl.load(first + 2) * x


@kernel
def tap(low, fraction, OFFSET: tl.constexpr, length):
    """Return index and weight along one axis of the tap below a place, or of the one above it."""
    index = low.to(tl.int64) + OFFSET
    weight = fraction if OFFSET == 1 else 1 - fraction
    return index, tl.where((index >= 0) & (index < length), weight, 0.0)


@kernel
def _project(
    slices, volume, map_, thickness, depth, height, width, first_given, given, first_row, rows, PARTS: tl.constexpr
):
    num_slices = tl.num_programs(0)
    pixel = tl.program_id(1) * _SIZE + tl.arange(0, _SIZE)
    valid, part = pixel < rows * width, tl.arange(0, PARTS)[None, :]
    y = (pixel // width + first_row - height // 2).to(tl.float64)
    x = (pixel % width - width // 2).to(tl.float64)
    planes = depth // num_slices
    sum_ = tl.zeros([_SIZE, PARTS], tl.float32)
    for plane in range(planes):
        z = (tl.program_id(0) * planes + plane - depth // 2).to(tl.float64)
        at_z = row_of(map_, 0, z, y, x) + (tl.load(map_ + 3) + depth // 2)
        at_y = row_of(map_, 1, z, y, x) + (tl.load(map_ + 7) + height // 2)
        at_x = row_of(map_, 2, z, y, x) + (tl.load(map_ + 11) + width // 2)
        low_z, low_y, low_x = tl.floor(at_z), tl.floor(at_y), tl.floor(at_x)
        fraction_z, fraction_y = (at_z - low_z).to(tl.float32), (at_y - low_y).to(tl.float32)
        fraction_x = (at_x - low_x).to(tl.float32)
        for a in tl.static_range(2):
            i, weight_z = tap(low_z, fraction_z, a, depth)
            for b in tl.static_range(2):
                j, weight_y = tap(low_y - first_given, fraction_y, b, given)
                for c in tl.static_range(2):
                    k, weight_x = tap(low_x, fraction_x, c, width)
                    weight = weight_z * weight_y * weight_x
                    place = ((i * given + j) * width + k)[:, None] * PARTS + part
                    there = (valid & (weight != 0))[:, None]
                    sum_ += tl.load(volume + place, mask=there, other=0.0) * weight[:, None]
    place = (tl.program_id(0).to(tl.int64) * rows * width + pixel)[:, None] * PARTS + part
    tl.store(slices + place, sum_ * thickness, mask=valid[:, None])


@kernel
def _near(distance):
    return tl.maximum(1 - tl.abs(distance), 0.0)


@kernel
def _place(numbers, axis, z, y, x):
    """Return one coordinate of the first corner of a voxel's box in the tilted volume, from its middle."""
    inverse = numbers + 12 + 3 * axis
    middle = tl.load(inverse) * z + tl.load(inverse + 1) * y + tl.load(inverse + 2) * x
    return tl.ceil(middle - tl.load(numbers + 21 + axis))


@kernel
def _backproject(
    volume, slices, numbers, thickness, depth, height, width,
    first_given, given, first_row, rows, num_slices, box_z, box_y, box_x, PARTS: tl.constexpr,
):  # fmt: skip
    voxel = tl.program_id(0).to(tl.int64) * _SIZE + tl.arange(0, _SIZE)
    sum_ = gathered(
        voxel, slices, numbers, depth, height, width,
        first_given, given, first_row, rows, num_slices, box_z, box_y, box_x, PARTS,
    )  # fmt: skip
    place = voxel[:, None] * PARTS + tl.arange(0, PARTS)[None, :]
    tl.store(volume + place, sum_ * thickness, mask=(voxel < depth * given * width)[:, None])


@kernel
def gathered(
    voxel, slices, numbers, depth, height, width,
    first_given, given, first_row, rows, num_slices, box_z, box_y, box_x, PARTS: tl.constexpr,
):  # fmt: skip
    """Return what the slices give to each voxel, per unit of thickness (voxels, parts)."""
    valid, part = voxel < depth * given * width, tl.arange(0, PARTS)[None, :]
    z = (voxel // (given * width) - depth // 2).to(tl.float64) - tl.load(numbers + 3)
    y = (voxel // width % given + first_given - height // 2).to(tl.float64) - tl.load(numbers + 7)
    x = (voxel % width - width // 2).to(tl.float64) - tl.load(numbers + 11)
    first_z, first_y = _place(numbers, 0, z, y, x), _place(numbers, 1, z, y, x)
    first_x = _place(numbers, 2, z, y, x)
    # of the first pixel of the box from the voxel; the others are whole steps of the map away
    from_z = (row_of(numbers, 0, first_z, first_y, first_x) - z).to(tl.float32)
    from_y = (row_of(numbers, 1, first_z, first_y, first_x) - y).to(tl.float32)
    from_x = (row_of(numbers, 2, first_z, first_y, first_x) - x).to(tl.float32)
    i, j = first_z.to(tl.int32) + depth // 2, first_y.to(tl.int32) + (height // 2 - first_row)
    k = first_x.to(tl.int32) + width // 2
    sum_ = tl.zeros([_SIZE, PARTS], tl.float32)
    for a in range(box_z):
        plane = i + a
        slice_ = (plane.to(tl.int64) * num_slices) // depth
        for b in range(box_y):
            line = valid & (plane >= 0) & (plane < depth) & (j + b >= 0) & (j + b < rows)
            for c in range(box_x):
                weight = _near(from_z + _step(numbers, 0, a, b, c))
                weight *= _near(from_y + _step(numbers, 1, a, b, c))
                weight *= _near(from_x + _step(numbers, 2, a, b, c))
                there = line & (k + c >= 0) & (k + c < width) & (weight > 0)
                place = ((slice_ * rows + j + b) * width + k + c)[:, None] * PARTS + part
                sum_ += tl.load(slices + place, mask=there[:, None], other=0.0) * weight[:, None]
    return sum_


@kernel
def _step(numbers, axis, a, b, c):
    """Return how far whole steps in the tilted volume lead along an axis of the volume."""
    return row_of(numbers, axis, a, b, c).to(tl.float32)
