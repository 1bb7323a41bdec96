"""Tilting and slicing the volume in one pass, its exact adjoint, and its derivative with respect to the pose.

`project_slices` is B_b A of [P] eq. 14 and `backproject_slices` is A† B_b† of eq. 18, with the same weights, added
plane by plane in a fixed order (`physics.turning`). Neither stores a rotated volume. The inner loops are those of
`physics.turned_planes`, or the same compiled: a module `by` with `deposit`, `spread_` and `resampled`.

With `SlabRows` they work on a slab, a range of rows of the volume along the tilt axis y: the rows `target` of the
slices depend on the rows `source` of the volume, which are the same ones and, unless the pose is a rotation about y
alone, a halo.
"""

from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from dptt.physics import turned_planes
from dptt.physics.turned_planes import from_pixels, onto_pixels
from dptt.physics.turning import Plan, Turning, plan, source_rows_of

PLANS = 4
"""Kept, since all minibatches of a tilt have the same."""


@dataclass(frozen=True)
class SlabRows:
    """The rows of a volume that are available, and the rows of its tilted slices to be computed."""

    height: int
    """Number of rows of the complete volume."""
    source: range
    """Available rows of the volume."""
    target: range
    """Rows of the slices to be computed."""


def source_rows(
    map_: Float[Tensor, "3 4"], target: range, volume_shape: tuple[int, int, int], slopes: bool = False
) -> range:
    """Return the rows of a volume (z, y, x) that the rows `target` of its slices depend on, or `slopes` of these."""
    if is_identity(map_) and not slopes:
        return target
    rows = source_rows_of(Turning.of(map_.detach().cpu().double()), volume_shape, target, whole=not slopes)
    return range(min(max(rows.start, 0), volume_shape[1]), min(max(rows.stop, 0), volume_shape[1]))


def project_slices(
    volume: Inexact[Tensor, "z source x"],
    map_: Float[Tensor, "3 4"],
    num_slices: int,
    voxel_thickness: float,
    rows: SlabRows | None = None,
    by: ModuleType = turned_planes,
) -> Inexact[Tensor, "slice target x"]:
    """Return the projected potential [V Å] of every slice of the tilted volume [V].

    `map_` is `physics.rotation.sampling_map` of the complete volume; `voxel_thickness` the voxel along z [Å]; `rows`
    are the available rows of the volume and those of the slices to be computed, by default all.
    """
    depth, height, width = volume.shape
    rows = rows or all_rows(height)
    if is_identity(map_) and rows.source == rows.target:
        return volume.reshape(num_slices, -1, height, width).sum(1) * voxel_thickness
    turned = plan_of(map_, (depth, rows.height, width), rows, volume)
    by = able(by, turned)
    images = by.deposit(volume, turned, (num_slices, depth // num_slices)).mul_(voxel_thickness)
    return onto_pixels(images, turned, by.resampled)


def backproject_slices(
    slices: Inexact[Tensor, "slice target x"],
    map_: Float[Tensor, "3 4"],
    volume_shape: tuple[int, int, int],
    voxel_thickness: float,
    rows: SlabRows | None = None,
    into: Inexact[Tensor, "z source x"] | None = None,
    by: ModuleType = turned_planes,
) -> Inexact[Tensor, "z source x"]:
    """Return the exact adjoint of `project_slices` applied to `slices`: all of the volume, or its `rows.source`.

    It is added to `into`, which is then returned, if `into` is not None.
    """
    depth, height, width = volume_shape
    rows = rows or all_rows(height)
    volume = slices.new_zeros((depth, len(rows.source), width)) if into is None else into
    planes = depth // len(slices)
    if is_identity(map_) and rows.source == rows.target:
        return volume.add_(slices.repeat_interleave(planes, dim=0), alpha=voxel_thickness)
    turned = plan_of(map_, volume_shape, rows, volume)
    by = able(by, turned)
    by.spread_(volume, from_pixels(slices, turned, by.resampled).mul(voxel_thickness), turned, planes)
    return volume


def is_identity(map_: Tensor) -> bool:
    """Return whether nothing is rotated or translated (ptychography of one tilt): nothing is interpolated."""
    return bool((map_ == torch.eye(3, 4, dtype=map_.dtype, device=map_.device)).all())


def all_rows(height: int) -> SlabRows:
    """Return the rows of a volume that is not cut."""
    return SlabRows(height, range(height), range(height))


def plan_of(
    map_: Tensor, volume_shape: tuple[int, int, int], rows: SlabRows, volume: Tensor, whole: bool = True
) -> Plan:
    """Return the plan of a map, with weights of the real type of `volume`, on its device; `whole` as in `plan`."""
    numbers = tuple(map_.detach().to("cpu", torch.float64).flatten().tolist())
    return _plan(numbers, tuple(volume_shape), rows, volume.real.dtype, volume.device, whole)


@lru_cache(PLANS)
def _plan(
    numbers: tuple[float, ...],
    volume_shape: tuple[int, int, int],
    rows: SlabRows,
    dtype: torch.dtype,
    device: torch.device,
    whole: bool,
) -> Plan:
    map_ = torch.tensor(numbers, dtype=torch.float64).reshape(3, 4)
    return plan(Turning.of(map_), volume_shape, rows.source, rows.target, whole).to(dtype, device)


def able(by: ModuleType, turned: Plan) -> ModuleType:
    """Return plain torch for planes that are rows, which no series in practice has, else `by`."""
    return turned_planes if turned.plane == 1 else by
