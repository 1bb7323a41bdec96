"""How the loss and the projected image change with the pose: exact derivatives of `rotation.project_slices`.

A map acts by the shifts of the planes, by the depths of their voxels, and by the shears that bring slices onto their
pixels (`physics.turning`). The derivatives by these numbers are sums over shifted planes (`pose_sums`), and those by
the map follow from them by the chain rule.
"""

from functools import partial
from types import ModuleType

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from dptt.kernels.pose_sums import PoseSums, pose_sums
from dptt.kernels.rotation import SlabRows, able, all_rows, plan_of
from dptt.physics import turned_planes
from dptt.physics.turned_planes import from_pixels, onto_pixels
from dptt.physics.turning import Plan, Turning, depth_from_front, plane_slopes


def pose_derivatives(
    volume: Inexact[Tensor, "z source x"],
    map_: Float[Tensor, "3 4"],
    slice_gradient: Inexact[Tensor, "slice target x"],
    voxel_thickness: float,
    rows: SlabRows | None = None,
    by: ModuleType = turned_planes,
) -> tuple[Float[Tensor, "3 4"], Inexact[Tensor, "3 2 target x"]]:
    """Return how the loss and the projected image change with the sampling map.

    Parameters
    ----------
    volume, map_, voxel_thickness, rows, by
        As in `rotation.project_slices`.
    slice_gradient
        dL/d(slices) at this map, its rows `rows.target`.

    Returns
    -------
    map_gradient
        dL/d(map), exact for the interpolation; of a slab, its share of the sum.
    moments
        sum_z dV/d(source_i) and sum_z z' dV/d(source_i) [V Å per voxel], i = (z, y, x): with them the derivative
        of the projection B_1 A V with respect to any entry of the map is a product with y' or x', as far as the
        volume is band-limited, and zero where beam paths begin and end.
    """
    depth, _, width = volume.shape
    rows = rows or all_rows(volume.shape[1])
    shape, thickness = (depth, rows.height, width), depth // len(slice_gradient)
    numbers = map_.detach().to("cpu", torch.float64).clone().requires_grad_()
    turning, turned = Turning.of(numbers), plan_of(map_, shape, rows, volume, whole=False)
    by = able(by, turned)
    ranges = (rows.source if turning.plane == 1 else range(turned.planes), *turned.places)
    residual = slice_gradient * voxel_thickness
    force = from_pixels(residual, turned, by.resampled)
    first, second = (plane_slopes(turning, axis, ranges, shape, rows.source) for axis in (0, 1))
    sums_of = getattr(by, "pose_sums", partial(pose_sums, by=by))
    sums: PoseSums = sums_of(volume, turned, force, thickness, (first[0], second[0]))

    total = _by_shears(turning, sums.images, residual, turned, by)
    total = total + _by_depth(sums, depth_from_front(turning, ranges, shape))
    for (_, places), by_place in zip((first, second), sums.by_place, strict=True):
        total = total + (places * by_place).sum()
    (gradient,) = torch.autograd.grad(total, numbers)
    return gradient.to(map_), _moments(sums, turned, turning.slope, depth, by) * voxel_thickness


def _by_shears(turning: Turning, images: Tensor, residual: Tensor, turned: Plan, by: ModuleType) -> Float[Tensor, ""]:
    """Return a number whose derivative by the shears is that of the loss."""
    a, b, c, d = turning.shears
    first, second = turned.along
    force = residual.mT if turned.swapped else residual
    returned = by.resampled(force, turned, axes=(1,), adjoint=True)
    by_first = by.shear_sums(images.mT, returned.mT, first)
    by_second = by.shear_sums(by.resampled(images, turned, axes=(0,)), force, second)
    return (torch.stack([a, b]) * by_first + torch.stack([d, c]) * by_second).sum()


def _by_depth(sums: PoseSums, depth: Float[Tensor, "4"]) -> Float[Tensor, ""]:
    """Return a number whose derivative by the `depth` of voxels is that of the loss: only ends of layers count."""
    moved, by_second, longer = sums.by_end
    first, plane = (torch.arange(n).double() for n in moved.shape)
    by_depth = (
        moved.sum(),
        (moved * plane).sum() + longer.sum() * depth[1].detach().sign(),
        (moved * first[:, None]).sum(),
        by_second.sum(),
    )
    return (torch.stack(by_depth) * depth).sum()


def _moments(
    sums: PoseSums, turned: Plan, slope: Float[Tensor, "2"], depth: int, by: ModuleType
) -> Inexact[Tensor, "3 2 target x"]:
    """Return the moments per unit of thickness.

    Along the beam dV/dz' adds up to nothing, and z' dV/dz' to minus the projection: of the derivative across the
    planes only the sum with those in the planes is needed.
    """
    images, moved = sums.images, sums.moved
    at_0, per_plane, per_first, per_second = turned.depth.tolist()
    first, second = (torch.arange(n, device=images.device).to(images.real) for n in turned.grid)
    middle = at_0 - depth // 2 - 0.5 + per_first * first[:, None] + per_second * second
    along = [torch.stack([one, middle * one + per_plane * by_plane]) for one, by_plane in moved]
    pixels = onto_pixels(torch.cat([*along, images.sum(0)[None]]), turned, by.resampled)
    moments = pixels.new_zeros((3, 2, *pixels.shape[1:]))
    for axis, factor, pair in zip(turned.axes, slope.tolist(), (pixels[:2], pixels[2:4]), strict=True):
        moments[axis] = pair
        moments[turned.plane] -= factor * pair
    moments[turned.plane, 1] -= per_plane * pixels[4]
    return moments
