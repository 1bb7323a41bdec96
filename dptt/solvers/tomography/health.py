"""Weights of tilts that do not fit the volume: a moved specimen, a wrong focus, a misread angle, a lost beam.

A loss alone says nothing: it is larger where the specimen scatters more, and with more electrons. A tilt is compared
with the others in two natural units: its shot noise, and its scattering (`model.shot_noise.Fit`).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from dptt.model.shot_noise import Fit
from dptt.solvers.outliers import outlier_weights

FIRST_WEIGHTED_EPOCH = 2
"""Complete epochs before tilts are compared: the fits of the first depend on the order of the tilts."""
TOLERATED_EXCESS = 2.0
"""A tilt keeps its full weight up to this multiple of what the others leave unexplained."""
TOLERATED_NOISE = 5.0
"""Standard deviations of its shot noise that are allowed beyond."""
SMALLEST = 1e-30
"""Keeps quotients finite where nothing scatters and everything fits."""


def tilt_weights(fits: Sequence[Fit]) -> Float[Tensor, " tilt"]:
    """Return the weight of each tilt: 1 where the volume explains it about as well as it explains the others.

    What a tilt is expected to leave unexplained is the median share of the scattering or of the shot noise that all
    tilts leave, whichever is more. Beyond the tolerated multiple, the weight falls with the square of the excess.
    """
    loss, noise, scattering, variance = (
        torch.tensor([getattr(fit, name) for fit in fits], dtype=torch.float64)
        for name in ("loss", "expected", "scattering", "variance")
    )
    excess, scattering = (loss - noise).nan_to_num(0.0), scattering.clamp_min(0)
    shares = [(excess / scale.clamp_min(SMALLEST)).median() * scale for scale in (noise, scattering)]
    usual = torch.maximum(*shares).clamp_min(0)
    limit = TOLERATED_EXCESS * usual + TOLERATED_NOISE * variance.sqrt() + SMALLEST
    return outlier_weights(excess / limit, median=1.0, tolerated=1.0, power=2)
