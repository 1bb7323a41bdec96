"""Which tilts the volume cannot explain: a stage angle misread, a charged or moved specimen, a beam that went off."""

import torch
from jaxtyping import Float
from torch import Tensor

FIRST_WEIGHTED_EPOCH = 2
"""Complete epochs before losses of tilts are compared: those of the first hold the order of the tilts."""
TOLERATED_EXCESS = 2.0
"""A tilt keeps its full weight up to this multiple of the median excess loss."""
SMALLEST_EXCESS = 0.1
"""Fraction of the median loss that every tilt is granted as excess: counts do not always follow a Poisson law."""


def tilt_weights(losses: Float[Tensor, " tilt"], shot_noise_losses: Float[Tensor, " tilt"]) -> Float[Tensor, " tilt"]:
    """Return the weight of every tilt, 1 for all that are explained about equally well.

    What a loss [per electron] exceeds that of shot noise by is compared with the median over tilts: beyond
    `TOLERATED_EXCESS` times it the weight falls with the square of the excess, so that a single bad tilt does not
    carve its error into the volume, and regains its weight when its pose is found.
    """
    excess = torch.maximum(losses - shot_noise_losses, SMALLEST_EXCESS * losses.median())
    limit = TOLERATED_EXCESS * excess.median()
    return (limit / excess.clamp_min(torch.finfo(excess.dtype).tiny)).clamp_max(1.0).square()
