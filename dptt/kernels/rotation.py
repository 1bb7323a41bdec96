"""Tilting and slicing the volume in one pass, its exact adjoint, and its derivative with respect to the pose.

`project_slices` is B_b A of [P] eq. 14 and `backproject_slices` is A† B_b† of eq. 18, with the same trilinear
weights, added plane by plane in a fixed order. Neither stores a rotated volume.

With `SlabRows` they work on a slab, a range of rows of the volume along the tilt axis y: the rows `target` of the
slices depend on the rows `source` of the volume, which are the same ones and, for off-axis angles, a halo.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

ROUNDING = 1e-11
"""Rounding error of a position along y [rows]."""


@dataclass(frozen=True)
class SlabRows:
    """The rows of a volume that are available, and the rows of its tilted slices to be computed."""

    height: int
    """Number of rows of the complete volume."""
    source: range
    """Available rows of the volume."""
    target: range
    """Rows of the slices to be computed."""


def source_rows(map_: Float[Tensor, "3 4"], target: range, volume_shape: tuple[int, int, int]) -> range:
    """Return the rows of a volume (z, y, x) that the rows `target` of its tilted slices depend on."""
    if is_identity(map_):
        return target
    low = high = float(map_[1, 3]) + volume_shape[1] // 2
    for factor, first, last in zip(
        map_[1, :3].tolist(),
        (-(volume_shape[0] // 2), target.start - volume_shape[1] // 2, -(volume_shape[2] // 2)),
        (
            (volume_shape[0] - 1) // 2,
            target.stop - 1 - volume_shape[1] // 2,
            (volume_shape[2] - 1) // 2,
        ),
        strict=True,
    ):
        low += min(factor * first, factor * last)
        high += max(factor * first, factor * last)
    # On the tilt axis rows are integers but for rounding: a tap that is dropped here has a negligible weight.
    first, last = math.floor(low + ROUNDING), math.floor(high - ROUNDING) + 1
    return range(min(max(first, 0), volume_shape[1]), min(max(last + 1, 0), volume_shape[1]))


def project_slices(
    volume: Inexact[Tensor, "z source x"],
    map_: Float[Tensor, "3 4"],
    num_slices: int,
    voxel_thickness: float,
    rows: SlabRows | None = None,
) -> Inexact[Tensor, "slice target x"]:
    """Return the projected potential [V Å] of every slice of the tilted volume [V].

    `map_` is `physics.rotation.sampling_map` of the complete volume; `voxel_thickness` the voxel along z [Å]; `rows`
    are the available rows of the volume and those of the slices to be computed, by default all.
    """
    depth, _, nx = volume.shape
    rows = rows or all_rows(volume.shape[1])
    ny = len(rows.target)
    if is_identity(map_):
        return volume.reshape(num_slices, -1, ny, nx).sum(1) * voxel_thickness
    flat = volume.reshape(-1)
    slices = volume.new_zeros((num_slices, ny * nx))
    for plane, index, weight in _planes(map_, volume, rows):
        slices[plane * num_slices // depth] += (flat[index] * weight).sum(0)
    return slices.mul_(voxel_thickness).reshape(num_slices, ny, nx)


def backproject_slices(
    slices: Inexact[Tensor, "slice target x"],
    map_: Float[Tensor, "3 4"],
    volume_shape: tuple[int, int, int],
    voxel_thickness: float,
    rows: SlabRows | None = None,
    into: Inexact[Tensor, "z source x"] | None = None,
) -> Inexact[Tensor, "z source x"]:
    """Return the exact adjoint of `project_slices` applied to `slices`: all of the volume, or its `rows.source`.

    It is added to `into`, which is then returned, if `into` is not None.
    """
    depth = volume_shape[0]
    rows = rows or all_rows(volume_shape[1])
    volume = slices.new_zeros((depth, len(rows.source), volume_shape[2])) if into is None else into
    if is_identity(map_):
        return volume.add_(slices.repeat_interleave(depth // len(slices), dim=0), alpha=voxel_thickness)
    flat = slices.flatten(1) * voxel_thickness
    for plane, index, weight in _planes(map_, volume, rows):
        added = weight * flat[plane * len(slices) // depth]
        volume.view(-1).index_add_(0, index.flatten(), added.flatten())
    return volume


def pose_derivatives(
    volume: Inexact[Tensor, "z source x"],
    map_: Float[Tensor, "3 4"],
    slice_gradient: Inexact[Tensor, "slice target x"],
    voxel_thickness: float,
    rows: SlabRows | None = None,
) -> tuple[Float[Tensor, "3 4"], Inexact[Tensor, "3 2 target x"]]:
    """Return how the loss and the projected image change with the sampling map.

    Parameters
    ----------
    volume, map_, voxel_thickness, rows
        As in `project_slices`.
    slice_gradient
        dL/d(slices) at this map, its rows `rows.target`.

    Returns
    -------
    map_gradient
        dL/d(map), exact for the trilinear interpolation; of a slab, its share of the sum.
    moments
        sum_z dV/d(source_i) and sum_z z' dV/d(source_i) [V Å per voxel], i = (z, y, x): with them the derivative
        of the projection B_1 A V with respect to any entry of the map is a product with y' or x'.
    """
    depth, _, nx = volume.shape
    rows = rows or all_rows(volume.shape[1])
    ny = len(rows.target)
    flat = volume.reshape(-1)
    moments = volume.new_zeros((3, 2, ny * nx))
    gradient = torch.zeros((3, 4), dtype=torch.float64, device=volume.device)
    y = (torch.tensor(rows.target, device=volume.device) - rows.height // 2).repeat_interleave(nx)
    x = (torch.arange(nx, device=volume.device) - nx // 2).repeat(ny)
    for plane, index, slope in _planes(map_, volume, rows, derivative=True):
        taps = flat[index]
        residual = slice_gradient[plane * len(slice_gradient) // depth].flatten().conj()
        z = plane - depth // 2
        for axis in range(3):
            along = (taps * slope[axis]).sum(0) * voxel_thickness
            moments[axis, 0] += along
            moments[axis, 1] += z * along
            force = (residual * along).real.double()
            total = force.sum()
            gradient[axis] += torch.stack([z * total, (force * y).sum(), (force * x).sum(), total])
    return gradient.to(map_), moments.reshape(3, 2, ny, nx)


def is_identity(map_: Tensor) -> bool:
    """Return whether nothing is rotated or translated (ptychography of one tilt): nothing is interpolated."""
    return bool((map_ == torch.eye(3, 4, dtype=map_.dtype, device=map_.device)).all())


def all_rows(height: int) -> SlabRows:
    """Return the rows of a volume that is not cut."""
    return SlabRows(height, range(height), range(height))


def _planes(
    map_: Tensor, volume: Tensor, rows: SlabRows, derivative: bool = False
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield, for every plane z' that meets the volume, the 8 taps and trilinear weights of its pixels.

    Taps index `volume`, the rows `rows.source`; a tap outside it has zero weight. With `derivative` the weights are
    those of d/d(source), with a leading axis of 3.
    """
    if not volume.numel():
        return
    given, whole = volume.shape, (volume.shape[0], rows.height, volume.shape[2])
    first = (0, rows.source.start, 0)
    real = torch.empty(0, dtype=volume.dtype).real.dtype
    device, map_ = volume.device, map_.to(volume.device)
    y = torch.tensor(rows.target, dtype=map_.dtype, device=device)[:, None] - rows.height // 2
    x = torch.arange(whole[2], dtype=map_.dtype, device=device)[None, :] - whole[2] // 2
    in_plane = [map_[i, 1] * y + map_[i, 2] * x + (n // 2 + map_[i, 3]) for i, n in enumerate(whole)]
    for plane in range(whole[0]):
        taps, weights = [], []
        inside = torch.ones_like(in_plane[0], dtype=torch.bool)
        for axis in range(3):
            source = in_plane[axis] + map_[axis, 0] * (plane - whole[0] // 2)
            start, stop = first[axis], first[axis] + given[axis]
            inside &= (source > start - 1) & (source < stop)
            low = torch.floor(source)
            fraction = (source - low).to(real)
            pair = torch.stack([low, low + 1]).flatten(1)
            there = (pair >= start) & (pair < stop)
            taps.append((pair - start).clamp_(0, given[axis] - 1).to(torch.int64))
            weights.append((there, fraction.flatten()))
        if not bool(inside.any()):
            continue
        z, y_, x_ = taps
        index = (z[:, None] * given[1] + y_[None, :])[:, :, None] * given[2] + x_[None, None, :]
        yield plane, index.flatten(0, 2), _weights(weights, derivative)


def _weights(parts: list[tuple[Tensor, Tensor]], derivative: bool) -> Tensor:
    """Return the trilinear weights (8, pixels), or their derivatives (3, 8, pixels).

    `parts` are, for z, y and x, whether either tap lies inside (2, pixels), and the fraction towards the second tap.
    """
    linear = [torch.stack([1 - f, f]) * there for there, f in parts]
    if not derivative:
        return (linear[0][:, None, None] * linear[1][None, :, None] * linear[2][None, None]).flatten(0, 2)
    result = []
    for axis in range(3):
        there, fraction = parts[axis]
        step = torch.stack([-torch.ones_like(fraction), torch.ones_like(fraction)]) * there
        z, y, x = (step if axis == i else linear[i] for i in range(3))
        result.append((z[:, None, None] * y[None, :, None] * x[None, None]).flatten(0, 2))
    return torch.stack(result)
