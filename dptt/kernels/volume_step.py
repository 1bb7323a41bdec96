"""One step of the volume: momentum, then prior knowledge of a potential ([P] eq. 17).

Two passes over memory, because thresholds are fractions of the potential after the step.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

PIECE_VOXELS = 1 << 20
"""Voxels constrained at once."""


@dataclass(frozen=True)
class Thresholds:
    """Amounts by which a potential is reduced where it should be zero or positive; none by default."""

    negative: float = 0.0
    """Fraction of every negative Re V; 1 projects on non-negative values."""
    shrinkage: float = 0.0
    """Taken off |Re V| [V]."""
    negative_absorption: float = 0.0
    """Fraction of every negative Im V."""
    absorption_shrinkage: float = 0.0
    """Taken off |Im V| [V]."""


def advance_(
    volume: Inexact[Tensor, "z y x"],
    velocity: Inexact[Tensor, "z y x"],
    update: Inexact[Tensor, "z y x"],
    momentum: float,
    step: float,
) -> Float[Tensor, "2"]:
    """Move the volume with momentum, in place, and return the sums of (Re V)² and (Re V)⁴ in double precision."""
    return move_(volume, velocity.mul_(momentum).add_(update), step)


def move_(volume: Inexact[Tensor, "z y x"], velocity: Inexact[Tensor, "z y x"], step: float) -> Float[Tensor, "2"]:
    """Do `advance_` with a velocity that holds the update already."""
    volume.add_(velocity, alpha=-step)
    return power_sums(volume)


def power_sums(volume: Inexact[Tensor, "z y x"]) -> Float[Tensor, "2"]:
    """Return the sums of (Re V)² and (Re V)⁴ in double precision."""
    sums = torch.zeros(2, dtype=torch.float64, device=volume.device)
    for planes in _pieces(volume):
        squared = (planes.real if volume.is_complex() else planes).square()
        sums += torch.stack([squared.sum(), squared.square_().sum()]).double()
    return sums


def threshold_(volume: Inexact[Tensor, "z y x"], thresholds: Thresholds) -> None:
    """Constrain a volume by `thresholds`, in place; only a complex volume has Im V."""
    for planes in _pieces(volume):
        real = planes.real if volume.is_complex() else planes  # views: written in place
        shrink_(reduce_negative_(real, thresholds.negative), thresholds.shrinkage)
        if volume.is_complex():
            absorbing = reduce_negative_(planes.imag, thresholds.negative_absorption)
            shrink_(absorbing, thresholds.absorption_shrinkage)


def shrink_(values: Float[Tensor, "..."], threshold: float) -> Float[Tensor, "..."]:
    """Apply the proximal operator of the L1 norm, sign(v) max(|v| - threshold, 0) ([P] eq. 17), in place.

    A threshold beyond all numbers, of a volume that has diverged, leaves none, so that the loss tells.
    """
    if threshold > torch.finfo(values.dtype).max:
        values.fill_(math.nan)
    elif threshold > 0:
        values.copy_(torch.nn.functional.softshrink(values, threshold))
    return values


def reduce_negative_(values: Float[Tensor, "..."], strength: float) -> Float[Tensor, "..."]:
    """Reduce every negative value by the fraction `strength`, in place."""
    if strength > 0:
        values.copy_(torch.where(values < 0, (1 - strength) * values, values))
    return values


def _pieces(volume: Tensor) -> tuple[Tensor, ...]:
    """Return the volume in pieces of a few planes, so that temporary results need little memory."""
    return volume.split(max(1, PIECE_VOXELS // max(1, volume[0].numel()))) if len(volume) else ()
