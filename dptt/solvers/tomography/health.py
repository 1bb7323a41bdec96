"""Weights of tilts that do not fit the volume: a misread stage angle, a charged or moved specimen, a lost beam."""

import torch
from jaxtyping import Float
from torch import Tensor

from dptt.solvers.outliers import outlier_weights

FIRST_WEIGHTED_EPOCH = 2
"""Complete epochs before the losses of tilts are compared: those of the first depend on the order of the tilts."""
TOLERATED_EXCESS = 2.0
"""A tilt keeps its full weight up to this multiple of the median excess loss."""
SMALLEST_EXCESS = 0.1
"""Lower limit of the excess, as a fraction of the median loss: counts do not always follow a Poisson law."""


def tilt_weights(losses: Float[Tensor, " tilt"], shot_noise_losses: Float[Tensor, " tilt"]) -> Float[Tensor, " tilt"]:
    """Return the weight of each tilt: 1 where the volume explains it about as well as it explains the others.

    The excess is the loss [per electron] minus that of shot noise. Beyond `TOLERATED_EXCESS` times its median over
    tilts, the weight falls with the square of the excess. A tilt regains its weight once its pose is corrected.
    """
    excess = torch.maximum(losses - shot_noise_losses, SMALLEST_EXCESS * losses.median())
    return outlier_weights(excess, median=excess.median(), tolerated=TOLERATED_EXCESS, power=2)
