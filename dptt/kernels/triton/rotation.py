"""The steps of a turning (`physics.turned_planes`) on a GPU, all as gathers: no two programs add to the same number.

Some planes at once are shifted along one axis, then along the other, in memory of their own; the shift of the adjoint
has the same weights in reverse order. Then every pixel of a slice adds up the planes that meet it, and in the adjoint
every voxel of a shifted plane the slices that it meets. Depths are in double precision.
"""

import math

import torch
import triton.language as tl
from torch import Tensor

from dptt.kernels.triton.language import BLOCK, blocks, kernel, on_device_of, parts_of
from dptt.physics.sinc_weights import Bands
from dptt.physics.turned_planes import Edge, shear_sums
from dptt.physics.turning import Plan

__all__ = ["cut_", "deposit", "layers", "pieces", "resampled", "shear_sums", "shifted", "spread_"]

_SIZE = tl.constexpr(BLOCK)
AT_ONCE = 1 << 21
"""Voxels of shifted planes at once."""
MODES = {None: 0, "upper": 1, "lower": 2}


def deposit(volume: Tensor, plan: Plan, slices: tuple[int, int]) -> Tensor:
    """Return the sum of the shifted planes in every slice; as `turned_planes.deposit`."""
    number, thickness = slices
    images = volume.new_zeros((number, *plan.grid))
    for some in pieces(plan, volume) if images.numel() else ():
        cut_(images, shifted(volume, plan, some, plan.shifts), plan, some, thickness)
    return images


def spread_(volume: Tensor, images: Tensor, plan: Plan, thickness: int) -> None:
    """Add the exact adjoint of `deposit` applied to `images` to the volume."""
    turned = volume.permute(plan.plane, *plan.axes)
    reverse = [Bands(1 - start - weights.shape[1], weights.flip(1).contiguous()) for start, weights in plan.shifts]
    for some in pieces(plan, volume) if images.numel() and volume.numel() else ():
        planes = layers(images, plan, some, thickness)
        halfway = images.new_empty((len(planes), plan.grid[0], turned.shape[2]))
        _shift_(halfway, planes, reverse[1].start[some], reverse[1].weights[some])
        _shift_(turned[some].mT, halfway.mT, reverse[0].start[some], reverse[0].weights[some], add=True)


def shifted(volume: Tensor, plan: Plan, some: slice, shifts: tuple[Bands, Bands]) -> Tensor:
    """Return some planes on the grid, shifted by `shifts`; as `turned_planes.shifted`."""
    turned, (first, second) = volume.permute(plan.plane, *plan.axes), shifts
    halfway = volume.new_empty((some.stop - some.start, plan.grid[0], turned.shape[2]))
    _shift_(halfway.mT, turned[some].mT, first.start[some], first.weights[some])
    planes = volume.new_empty((len(halfway), *plan.grid))
    _shift_(planes, halfway, second.start[some], second.weights[some])
    return planes


def cut_(images: Tensor, planes: Tensor, plan: Plan, some: slice, thickness: int) -> None:
    """Add some shifted planes to slices, by the length in each; as `turned_planes.cut_`."""
    with on_device_of(images):
        _cut[(len(images), blocks(images[0].numel()))](
            *(parts_of(images), parts_of(planes), _depth(plan, some, images.device), float(thickness)),
            *(len(planes), *plan.grid),
            PARTS=1 + images.is_complex(),
        )


def layers(images: Tensor, plan: Plan, some: slice, thickness: int, edge: Edge | None = None) -> Tensor:
    """Return the adjoint of `cut_`, or the slices at an edge of layers; as `turned_planes.layers`."""
    images = images.resolve_conj().contiguous()
    planes = images.new_empty((some.stop - some.start, *plan.grid))
    span = math.ceil(abs(float(plan.depth[1])) / thickness) + 2
    if planes.numel():
        with on_device_of(images):
            _uncut[(blocks(planes.numel()),)](
                *(parts_of(planes), parts_of(images), _depth(plan, some, images.device), float(thickness)),
                *(len(planes), *plan.grid, len(images), span),
                MODE=MODES[edge],
                PARTS=1 + images.is_complex(),
            )
    return planes


def resampled(images: Tensor, plan: Plan, axes: tuple[int, ...] = (0, 1), adjoint: bool = False) -> Tensor:
    """Return images resampled along one axis, then along the other; as `turned_planes.resampled`."""
    bands = plan.shared if adjoint else plan.gathered
    for axis in reversed(axes) if adjoint else axes:
        one = bands[axis]
        if one is not None:
            shape = [*images.shape]
            shape[1 + axis] = one.start.shape[1]
            result = images.new_zeros(shape)
            given = images.resolve_conj().contiguous()
            if axis == 0:
                _resample_(result.mT, given.mT, one)
            else:
                _resample_(result, given, one)
            images = result
    return images


def pieces(plan: Plan, volume: Tensor) -> list[slice]:
    """Return pieces of the planes, such that shifted planes need little memory."""
    width = volume.shape[plan.axes[1]]
    step = max(1, AT_ONCE // max(1, plan.grid[0] * max(plan.grid[1], width)))
    return [slice(i, min(i + step, plan.planes)) for i in range(0, plan.planes, step)]


def _depth(plan: Plan, some: slice, device: torch.device) -> Tensor:
    """Return where voxels of planes from the first of `some` on lie, and half of the length of a layer [planes]."""
    at_0, per_plane, *others = plan.depth.tolist()
    numbers = [at_0 + per_plane * some.start, per_plane, *others, abs(per_plane) / 2]
    return torch.tensor(numbers, dtype=torch.float64, device=device)


def _shift_(result: Tensor, planes: Tensor, start: Tensor, weights: Tensor, add: bool = False) -> None:
    """Write planes (plane, line, place), shifted along their last axis, or add them; any strides."""
    if not result.numel():
        return
    if not planes.numel():
        result.mul_(add)
        return
    with on_device_of(result):
        _shift[(blocks(result.numel()),)](
            *(_reals(result), _reals(planes), start, weights.contiguous()),
            *(result.shape, result.stride(), planes.shape[2], planes.stride()),
            TAPS=weights.shape[1],
            ADD=add,
            PARTS=1 + result.is_complex(),
        )


def _resample_(result: Tensor, images: Tensor, bands: Bands) -> None:
    """Write images (slice, line, place) resampled along their last axis; any strides."""
    if result.numel() and images.numel():
        with on_device_of(result):
            _resample[(blocks(result.numel()),)](
                *(_reals(result), _reals(images), bands.start.contiguous(), bands.weights.contiguous()),
                *(result.shape, result.stride(), images.shape[2], images.stride()),
                *(bands.weights.shape[2], bands.start.shape[0]),
                PARTS=1 + result.is_complex(),
            )


def _reals(tensor: Tensor) -> Tensor:
    """Return a view of the memory of a tensor of any strides as real numbers."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


@kernel
def _shift(
    result, planes, start, weights, shape, strides, places, given_strides,
    TAPS: tl.constexpr, ADD: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0).to(tl.int64) * _SIZE + tl.arange(0, _SIZE)
    valid, part = index < shape[0] * shape[1] * shape[2], tl.arange(0, PARTS)[None, :]
    plane, line, place = index // (shape[1] * shape[2]), index // shape[2] % shape[1], index % shape[2]
    first = place + tl.load(start + plane, mask=valid, other=0)
    sum_ = tl.zeros([_SIZE, PARTS], tl.float32)
    for t in range(TAPS):
        inside = valid & (first + t >= 0) & (first + t < places)
        at = plane * given_strides[0] + line * given_strides[1] + (first + t) * given_strides[2]
        values = tl.load(planes + at[:, None] * PARTS + part, mask=inside[:, None], other=0.0)
        sum_ += values * tl.load(weights + plane * TAPS + t, mask=inside, other=0.0)[:, None]
    to = (plane * strides[0] + line * strides[1] + place * strides[2])[:, None] * PARTS + part
    if ADD:
        sum_ += tl.load(result + to, mask=valid[:, None], other=0.0)
    tl.store(result + to, sum_, mask=valid[:, None])


@kernel
def _resample(
    result, images, start, weights, shape, strides, places, given_strides, taps, lines, PARTS: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0).to(tl.int64) * _SIZE + tl.arange(0, _SIZE)
    valid, part = index < shape[0] * shape[1] * shape[2], tl.arange(0, PARTS)[None, :]
    slice_, line, place = index // (shape[1] * shape[2]), index // shape[2] % shape[1], index % shape[2]
    band = tl.where(lines > 1, line, 0) * shape[2] + place
    first = tl.load(start + band, mask=valid, other=0)
    sum_ = tl.zeros([_SIZE, PARTS], tl.float32)
    for t in range(taps):
        inside = valid & (first + t >= 0) & (first + t < places)
        at = slice_ * given_strides[0] + line * given_strides[1] + (first + t) * given_strides[2]
        values = tl.load(images + at[:, None] * PARTS + part, mask=inside[:, None], other=0.0)
        sum_ += values * tl.load(weights + band * taps + t, mask=inside, other=0.0)[:, None]
    to = (slice_ * strides[0] + line * strides[1] + place * strides[2])[:, None] * PARTS + part
    tl.store(result + to, sum_, mask=valid[:, None])


@kernel
def _length(middle, half, thickness, MODE: tl.constexpr):
    """Return the length of a layer in the slice that begins at depth 0, or whether its edge is in it."""
    if MODE == 0:
        length = tl.minimum(middle + half, thickness) - tl.maximum(middle - half, 0.0)
        return tl.maximum(length, 0.0).to(tl.float32)
    edge = middle + half if MODE == 1 else middle - half
    below = tl.where((edge >= 0) & (edge < thickness), 0.5, 0.0)
    return (below + tl.where((edge > 0) & (edge <= thickness), 0.5, 0.0)).to(tl.float32)


@kernel
def _cut(
    images, planes, depth, thickness, count, height, width, PARTS: tl.constexpr,
):  # fmt: skip
    slice_, part = tl.program_id(0), tl.arange(0, PARTS)[None, :]
    pixel = tl.program_id(1).to(tl.int64) * _SIZE + tl.arange(0, _SIZE)
    valid = pixel < height * width
    per_plane, half = tl.load(depth + 1), tl.load(depth + 4)
    at = tl.load(depth) + tl.load(depth + 2) * (pixel // width).to(tl.float64)
    at += tl.load(depth + 3) * (pixel % width).to(tl.float64) - slice_ * thickness
    ends = (-half - at) / per_plane, (thickness + half - at) / per_plane
    first = tl.min(tl.where(valid, tl.floor(tl.minimum(ends[0], ends[1])), count * 1.0), 0)
    last = tl.max(tl.where(valid, tl.ceil(tl.maximum(ends[0], ends[1])), -1.0), 0)
    begin = tl.maximum(first, 0.0).to(tl.int32)
    end = tl.minimum(last + 1, count * 1.0).to(tl.int32)
    to = (slice_.to(tl.int64) * height * width + pixel)[:, None] * PARTS + part
    sum_ = tl.load(images + to, mask=valid[:, None], other=0.0)
    for n in range(begin, end):
        length = _length(at + per_plane * n, half, thickness, 0)
        place = (n * height * width + pixel)[:, None] * PARTS + part
        sum_ += tl.load(planes + place, mask=(valid & (length > 0))[:, None], other=0.0) * length[:, None]
    tl.store(images + to, sum_, mask=valid[:, None])


@kernel
def _uncut(
    planes, images, depth, thickness, count, height, width, number, span, MODE: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0).to(tl.int64) * _SIZE + tl.arange(0, _SIZE)
    valid, part = index < count * height * width, tl.arange(0, PARTS)[None, :]
    pixel, half = index % (height * width), tl.load(depth + 4)
    at = tl.load(depth) + tl.load(depth + 1) * (index // (height * width)).to(tl.float64)
    at += tl.load(depth + 2) * (pixel // width).to(tl.float64) + tl.load(depth + 3) * (pixel % width).to(tl.float64)
    first = tl.floor((at - half) / thickness) - 1
    sum_ = tl.zeros([_SIZE, PARTS], tl.float32)
    for k in range(span):
        slice_ = first + k
        inside = valid & (slice_ >= 0) & (slice_ < number)
        length = _length(at - slice_ * thickness, half, thickness, MODE)
        place = (slice_.to(tl.int64) * height * width + pixel)[:, None] * PARTS + part
        sum_ += tl.load(images + place, mask=inside[:, None], other=0.0) * length[:, None]
    tl.store(planes + index[:, None] * PARTS + part, sum_, mask=valid[:, None])
