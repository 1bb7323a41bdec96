"""The three steps of a turning (`turning`) in plain torch, and their adjoints: for any device, type and plane.

deposit     planes of the volume, each `shifted` and `cut_` into slices, on the grid of the shifted planes
spread_     its adjoint; `layers` is that of `cut_`
resampled   slices on that grid brought onto their pixels, or, with the other weights, the adjoint
"""

import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from dptt.physics.sinc_weights import Bands, Resampling
from dptt.physics.turning import Plan

Edge = Literal["upper", "lower"]
"""An end of the layer of a voxel: derivatives by the depth."""

AT_ONCE = 1 << 14
"""Voxels of shifted planes at once."""
LINES = 64
"""Lines of images whose weights are differentiated at once."""


def deposit(
    volume: Inexact[Tensor, "z source x"], plan: Plan, slices: tuple[int, int]
) -> Inexact[Tensor, "slice first second"]:
    """Return the sum of the shifted planes in every slice, by the length of a voxel's layer in it [planes].

    `slices` are their number and how many planes each is thick.
    """
    number, thickness = slices
    result = volume.new_zeros((number, *plan.grid))
    for some in pieces(plan, volume):
        cut_(result, shifted(volume, plan, some, plan.shifts), plan, some, thickness)
    return result


def spread_(
    volume: Inexact[Tensor, "z source x"], images: Inexact[Tensor, "slice first second"], plan: Plan, thickness: int
) -> None:
    """Add the exact adjoint of `deposit` applied to `images` to the volume."""
    turned = volume.permute(plan.plane, *plan.axes)
    for some in pieces(plan, volume):
        first, second = _matrices(plan.shifts, some, plan.grid, turned.shape[1:], volume.dtype)
        turned[some] += first.mT @ layers(images, plan, some, thickness) @ second


def shifted(
    volume: Inexact[Tensor, "z source x"], plan: Plan, some: slice, shifts: tuple[Bands, Bands]
) -> Inexact[Tensor, "plane first second"]:
    """Return some planes on the grid, shifted by `shifts`: those of the plan, or slopes of them."""
    turned = volume.permute(plan.plane, *plan.axes)
    first, second = _matrices(shifts, some, plan.grid, turned.shape[1:], volume.dtype)
    return first @ turned[some] @ second.mT


def cut_(images: Tensor, planes: Tensor, plan: Plan, some: slice, thickness: int) -> None:
    """Add some shifted planes (plane, first, second) to slices (slice, first, second), by the length in each."""
    for slice_, length in _lengths(plan, some, len(images), thickness):
        images[slice_] = images[slice_] + (planes * length.to(planes.real.dtype)).sum(0)


def layers(
    images: Inexact[Tensor, "slice first second"], plan: Plan, some: slice, thickness: int, edge: Edge | None = None
) -> Inexact[Tensor, "plane first second"]:
    """Return the adjoint of `cut_`; with `edge`, the slices at that end of every voxel's layer."""
    result = images.new_zeros((len(range(plan.planes)[some]), *plan.grid))
    for slice_, length in _lengths(plan, some, len(images), thickness, edge):
        result += images[slice_] * length.to(images.real.dtype)
    return result


def resampled(
    images: Inexact[Tensor, "slice _ _"], plan: Plan, axes: tuple[int, ...] = (0, 1), adjoint: bool = False
) -> Inexact[Tensor, "slice _ _"]:
    """Return images of places resampled to those of pixels along the first and then the second of `axes`.

    The adjoint takes images of pixels, and the second axis first.
    """
    bands = plan.shared if adjoint else plan.gathered
    for axis in reversed(axes) if adjoint else axes:
        one = bands[axis]
        if one is not None:  # lines of an axis are places along the other one
            images = _resampled(images.mT if axis == 0 else images, one)
            images = images.mT if axis == 0 else images
    return images


def onto_pixels(
    images: Inexact[Tensor, "slice first second"], plan: Plan, by: Callable[..., Tensor] = resampled
) -> Inexact[Tensor, "slice target x"]:
    """Return slices on the grid of the shifted planes brought onto their pixels; `by` resamples."""
    images = by(images, plan)
    (top, bottom), (left, right) = _margins(plan)
    images = torch.nn.functional.pad(images, (left, right, top, bottom))
    return images.mT if plan.swapped else images


def from_pixels(
    images: Inexact[Tensor, "slice target x"], plan: Plan, by: Callable[..., Tensor] = resampled
) -> Inexact[Tensor, "slice first second"]:
    """Return the exact adjoint of `onto_pixels`."""
    images = images.mT if plan.swapped else images
    (top, bottom), (left, right) = _margins(plan)
    images = images[:, top : images.shape[1] - bottom, left : images.shape[2] - right]
    return by(images, plan, adjoint=True)


def shear_sums(
    given: Inexact[Tensor, "slice line place"], wanted: Inexact[Tensor, "slice line output"], along: Resampling
) -> Float[Tensor, "2"]:
    """Return the derivatives of the product of `wanted` and resampled `given` by the slope and the skew."""
    sums = torch.zeros(2, dtype=torch.float64)
    for first in range(0, len(along.lines), LINES):
        some = slice(first, first + LINES)
        for i, (start, weights) in enumerate(along.slopes(some)):
            bands = Bands(start.to(given.device), weights.to(given.real))
            sums[i] += (wanted[:, some].conj() * _resampled(given[:, some], bands)).real.sum().double().cpu()
    return sums


def _margins(plan: Plan) -> list[tuple[int, int]]:
    """Return how many pixels lie before and behind the grid, along axes where pixels are places."""
    return [
        (0, 0) if bands else (places.start - pixels.start, pixels.stop - places.stop)
        for bands, places, pixels in zip(plan.along, plan.places, plan.outputs, strict=True)
    ]


def _resampled(images: Tensor, bands: Bands) -> Tensor:
    """Return images (slice, line, place) resampled along their last axis."""
    result = images.new_zeros((*images.shape[:2], bands.start.shape[1]))
    for tap in range(bands.weights.shape[2]):
        result = result + bands.weights[..., tap].to(images.real.dtype) * _taken(images, bands.start + tap)
    return result


def _taken(images: Tensor, index: Tensor) -> Tensor:
    """Return the places `index` (line, output) of images (slice, line, place), zero outside."""
    index = index.expand(images.shape[1], -1)
    if not images.shape[2]:
        return images.new_zeros((*images.shape[:2], index.shape[1]))
    inside = (index >= 0) & (index < images.shape[2])
    index = index.clamp(0, images.shape[2] - 1).expand(len(images), -1, -1)
    return images.gather(2, index).masked_fill(~inside, 0)


def pieces(plan: Plan, volume: Tensor) -> Iterator[slice]:
    """Yield pieces of the planes, such that little memory is needed."""
    step = max(1, AT_ONCE // max(1, math.prod(plan.grid)))
    yield from (slice(i, i + step) for i in range(0, plan.planes if math.prod(plan.grid) else 0, step))


def _matrices(
    shifts: tuple[Bands, Bands], some: slice, grid: tuple[int, int], given: torch.Size, dtype: torch.dtype
) -> Iterator[Tensor]:
    """Yield, for the first and the second axis, the matrices (plane, place, voxel) that shift some planes."""
    for bands, places, voxels in zip(shifts, grid, given, strict=True):
        start, weights = bands.start[some], bands.weights[some]
        taps = torch.arange(voxels, device=start.device) - torch.arange(places, device=start.device)[:, None]
        taps = taps - start[:, None, None]
        inside = (taps >= 0) & (taps < weights.shape[1])
        chosen = weights.gather(1, taps.clamp(0, weights.shape[1] - 1).flatten(1)).reshape(taps.shape)
        yield chosen.masked_fill(~inside, 0).to(dtype)


def _lengths(
    plan: Plan, some: slice, number: int, thickness: int, edge: Edge | None = None
) -> Iterator[tuple[int, Float[Tensor, "plane first second"]]]:
    """Yield every slice that layers of some planes meet, and their lengths in it, or whether their edge is in it."""
    device = plan.shifts[0].start.device
    plane, first, second = (torch.arange(n, device=device, dtype=torch.float64) for n in (plan.planes, *plan.grid))
    at_0, per_plane, per_first, per_second = plan.depth.to(device)
    middle = at_0 + per_plane * plane[some, None, None] + per_first * first[:, None] + per_second * second
    lower, upper = middle - per_plane.abs() / 2, middle + per_plane.abs() / 2
    begin = math.ceil(float(lower.detach().min()) / thickness) - 1
    end = math.floor(float(upper.detach().max()) / thickness)
    for slice_ in range(max(begin, 0), min(end + 1, number)):
        start, stop = slice_ * thickness, (slice_ + 1) * thickness
        if edge is None:
            yield slice_, (upper.clamp_max(stop) - lower.clamp_min(start)).clamp_min(0)
        else:
            place = upper if edge == "upper" else lower
            inside = ((place >= start) & (place < stop)).double() + ((place > start) & (place <= stop)).double()
            yield slice_, inside / 2  # half of an edge between two slices is in either
