"""Sums over the shifted planes of a volume from which the derivatives by its pose follow.

With W_n a shifted plane, W'_n its derivative by a shift along an axis, l_kn the length of its layer in slice k, and
F_k the derivative of the loss by the slices on the grid of the planes:

    images     sum_n l_kn W_n                   what is projected
    moved      sum_kn l_kn W'_n and sum_kn n l_kn W'_n      for shifts along either axis
    by_place   Re sum_k l_kn F_k* W'_n                      by the shift of a plane along either axis
    by_end     Re F* W_n of the slices F at both ends of a layer: how the loss changes as layers move or grow
"""

from dataclasses import dataclass
from types import ModuleType

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from dptt.physics import turned_planes
from dptt.physics.sinc_weights import Bands
from dptt.physics.turning import Plan


@dataclass(frozen=True)
class PoseSums:
    """Described above; the last two are in double precision, on the host."""

    images: Inexact[Tensor, "slice first second"]
    moved: Inexact[Tensor, "2 2 first second"]
    """Axis; 1 or n."""
    by_place: Float[Tensor, "2 plane"]
    by_end: Float[Tensor, "3 first plane"]
    """The far end less the near one; that times the place along the second axis; the mean of both."""

    @classmethod
    def of(cls, images: Tensor, moved: Tensor, sums: Float[Tensor, "5 first plane"]) -> "PoseSums":
        """Return the sums from those of every line along the second axis: two of `by_place`, three of `by_end`."""
        return cls(images, moved, sums[:2].sum(1), sums[2:])


def pose_sums(
    volume: Inexact[Tensor, "z source x"],
    plan: Plan,
    force: Inexact[Tensor, "slice first second"],
    thickness: int,
    slopes: tuple[Bands, Bands],
    by: ModuleType = turned_planes,
) -> PoseSums:
    """Return the sums, some planes at once.

    Parameters
    ----------
    force
        dL/d(slices) on the grid of the shifted planes.
    thickness
        Of a slice [planes].
    slopes
        `plan.shifts` with the derivatives of their weights.
    by
        The module with the steps of a turning.
    """
    images, moved = torch.zeros_like(force), force.new_zeros((2, 2, *plan.grid))
    sums = torch.zeros((5, plan.grid[0], plan.planes), dtype=torch.float64, device=volume.device)
    like = plan.shifts[0].weights
    by_first, by_second = (Bands(start.to(like.device), weights.to(like)) for start, weights in slopes)
    second = torch.arange(plan.grid[1], device=volume.device).to(volume.real)
    for some in by.pieces(plan, volume):
        planes = by.shifted(volume, plan, some, plan.shifts)
        by.cut_(images, planes, plan, some, thickness)
        pull = by.layers(force, plan, some, thickness).conj()
        length = by.layers(torch.ones_like(force), plan, some, thickness)
        number = torch.arange(plan.planes, device=volume.device)[some, None, None].to(volume.real)
        for axis, shifts in enumerate(((by_first, plan.shifts[1]), (plan.shifts[0], by_second))):
            slope = by.shifted(volume, plan, some, shifts)
            sums[axis, :, some] = (pull * slope).real.sum(2).double().T
            slope = slope * length
            moved[axis] += torch.stack([slope.sum(0), (number * slope).sum(0)])
        far, near = (
            (by.layers(force, plan, some, thickness, end).conj() * planes).real.double() for end in ("upper", "lower")
        )
        for i, one in enumerate((far - near, (far - near) * second, (far + near) / 2)):
            sums[2 + i, :, some] = one.sum(2).T
    return PoseSums.of(images, moved, sums.cpu())
