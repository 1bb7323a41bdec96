"""How the loss and the projected image change with the pose: exact derivatives of `rotation.project_slices`.

A map acts by the shifts of the planes, by the depths of their voxels, and by the shears that bring slices onto their
pixels (`physics.turning`). The derivatives by these numbers are deposits with other weights, and those by the map
follow from them by the chain rule.
"""

from collections.abc import Callable
from types import ModuleType

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from dptt.kernels.rotation import SlabRows, able, all_rows, plan_of
from dptt.physics import turned_planes
from dptt.physics.sinc_weights import Bands, resampling
from dptt.physics.turned_planes import from_pixels, onto_pixels, taken
from dptt.physics.turning import Plan, Turning, depth_from_front, plane_slopes

LINES = 64
"""Lines of images whose weights are differentiated at once."""


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
    shape, slices = (depth, rows.height, width), (len(slice_gradient), depth // len(slice_gradient))
    numbers = map_.detach().to("cpu", torch.float64).clone().requires_grad_()
    turning, turned = Turning.of(numbers), plan_of(map_, shape, rows, volume, whole=False)
    by = able(by, turned)
    ranges = (rows.source if turning.plane == 1 else range(turned.planes), *turned.places)
    residual = slice_gradient * voxel_thickness
    force = from_pixels(residual, turned, by.resampled)

    def deposited(
        factor: Tensor, axis: int = 0, weights: Bands | None = None, edge: str | None = None
    ) -> Inexact[Tensor, "slice first second"]:
        shifts = [*turned.shifts]
        start, taps = weights or shifts[axis]
        shifts[axis] = Bands(
            start.to(volume.device), (taps.double().cpu() * factor[:, None]).to(shifts[axis].weights)
        )
        return by.deposit(volume, turned, slices, (shifts[0], shifts[1]), edge)

    plane = torch.arange(turned.planes).double()
    one = torch.ones_like(plane)
    images = deposited(one)
    total = _by_shears(turning, images, residual, turned, by)
    total = total + _by_depth(turned, force, deposited, depth_from_front(turning, ranges, shape))
    slopes = []
    for axis in (0, 1):
        weights, places = plane_slopes(turning, axis, ranges, shape, rows.source)
        moved, by_plane = deposited(one, axis, weights), deposited(plane, axis, weights)
        total = total + places[:1].sum() * _work(force, moved).sum()
        total = total + turning.slope[axis] * _work(force, by_plane).sum()
        slopes.append((moved.sum(0), by_plane.sum(0)))
    (gradient,) = torch.autograd.grad(total, numbers)
    moments = _moments(images, slopes, turned, turning.slope, depth, by)
    return gradient.to(map_), moments * voxel_thickness


def _work(force: Tensor, images: Tensor) -> Float[Tensor, "first second"]:
    """Return the real part of force* · images, summed over slices in double precision."""
    return (force.conj() * images).real.sum(0).double().cpu()


def _by_shears(turning: Turning, images: Tensor, residual: Tensor, turned: Plan, by: ModuleType) -> Float[Tensor, ""]:
    """Return a number whose derivative by the shears is that of the loss."""
    a, b, c, d = turning.shears
    force = residual.mT if turned.swapped else residual
    halfway = by.resampled(images, (turned.gathered[0], None))
    returned = by.resampled(force, (None, turned.shared[1]), second_first=True)
    total = torch.zeros((), dtype=torch.float64)
    for axis, slope, skew, given, wanted, lines in (
        (0, a, b, images.mT, returned.mT, turned.places[1]),
        (1, d, c, halfway, force, turned.outputs[0]),
    ):
        gradient = torch.zeros(2, dtype=torch.float64)
        for first in range(0, len(lines), LINES):
            some = slice(first, first + LINES)
            numbers = torch.stack([slope, skew]).detach().requires_grad_()
            bands = resampling(
                *numbers, lines=lines[some], outputs=turned.outputs[axis], inputs=turned.places[axis], whole=False
            )
            start = bands.start.to(given.device)
            work = [_work(wanted[:, some], taken(given[:, some], start + t)) for t in range(bands.weights.shape[2])]
            gradient += torch.autograd.grad((bands.weights * torch.stack(work, 2)).sum(), numbers)[0]
        total = total + slope * gradient[0] + skew * gradient[1]
    return total


def _by_depth(
    turned: Plan, force: Tensor, deposited: Callable[..., Tensor], depth: Float[Tensor, "4"]
) -> Float[Tensor, ""]:
    """Return a number whose derivative by the `depth` of voxels is that of the loss: only ends of layers count."""
    plane = torch.arange(turned.planes).double()
    upper, lower = (deposited(torch.ones_like(plane), edge=end) for end in ("upper", "lower"))
    moved, longer = _work(force, upper - lower), _work(force, upper + lower).sum() / 2
    by_plane = _work(force, deposited(plane, edge="upper") - deposited(plane, edge="lower")).sum()
    first, second = (torch.arange(n).double() for n in turned.grid)
    by_depth = (
        moved.sum(),
        by_plane + longer * depth[1].detach().sign(),
        (moved * first[:, None]).sum(),
        (moved * second).sum(),
    )
    return (torch.stack(by_depth) * depth).sum()


def _moments(
    images: Tensor,
    slopes: list[tuple[Tensor, Tensor]],
    turned: Plan,
    slope: Float[Tensor, "2"],
    depth: int,
    by: ModuleType,
) -> Inexact[Tensor, "3 2 target x"]:
    """Return the moments per unit of thickness.

    Along the beam dV/dz' adds up to nothing, and z' dV/dz' to minus the projection: of the derivative across the
    planes only the sum with those in the planes is needed.
    """
    at_0, per_plane, per_first, per_second = turned.depth.tolist()
    first, second = (torch.arange(n, device=images.device).to(images.real) for n in turned.grid)
    middle = at_0 - depth // 2 - 0.5 + per_first * first[:, None] + per_second * second
    along = [torch.stack([one, middle * one + per_plane * by_plane]) for one, by_plane in slopes]
    pixels = onto_pixels(torch.cat([*along, images.sum(0)[None]]), turned, by.resampled)
    moments = pixels.new_zeros((3, 2, *pixels.shape[1:]))
    for axis, factor, pair in zip(turned.axes, slope.tolist(), (pixels[:2], pixels[2:4]), strict=True):
        moments[axis] = pair
        moments[turned.plane] -= factor * pair
    moments[turned.plane, 1] -= per_plane * pixels[4]
    return moments
