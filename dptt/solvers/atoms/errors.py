r"""Error bars that know the errors of the model, from how much the tilts contradict each other.

Where the gradient of all patterns is zero, those of single tilts are not: g_t, the gradient of tilt t, says where
this tilt alone would move an atom. If shot noise is all, the covariance of g_t is the information F_t; what the model
does wrong in one tilt and not in the next adds to it. The "sandwich" covariance of the parameters holds both:

    C = F^-1 (sum_t g_t g_t^T) F^-1  T / (T - 1)

Of one atom that is known from T - 1 numbers only. All atoms together give one factor for each parameter, by which
the errors sqrt(F^-1) are multiplied. It may be a little below 1: the loss's floor in the dark makes F^-1 too large.
What is wrong in the same way in all tilts does not show here.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from dptt.solvers.atoms.information import standard_errors

FEWEST = 60
"""Atoms × (tilts - 1) from which on parameters have a factor each, then known to 9 %; below, they share one of 1 or
more."""


def misfit_factors(
    gradients: Float[Tensor, "tilt atom 5"], blocks: Float[Tensor, "atom 5 5"], *, figure: float, least: float = 0.0
) -> Float[Tensor, "5"]:
    """Return by what the errors of shot noise are multiplied, for each parameter.

    Parameters
    ----------
    gradients
        Of the loss by the atoms, of every tilt alone.
    blocks
        Information of every atom.
    figure
        Figure of fit, which is taken where there are too few tilts.
    least
        Smallest factor. 1 where every tilt has a probe or pose of its own that is fitted, because these take some of
        the noise out of its gradient.
    """
    tilts, atoms = gradients.shape[:2]
    if tilts < 3:
        return torch.full((5,), math.sqrt(max(1.0, figure)), dtype=torch.float64)
    errors = standard_errors(blocks)
    sure = errors.isfinite().all(dim=1)
    alone = gradients - gradients.mean(dim=0)
    moves = torch.linalg.solve(blocks[sure], alone[:, sure].permute(1, 2, 0))  # (atom, parameter, tilt)
    ratios = (moves.square().sum(dim=2) / errors[sure].square()).mean(dim=0) * tilts / (tilts - 1)
    if atoms * (tilts - 1) < FEWEST:
        ratios, least = ratios.mean().expand(5), 1.0
    return ratios.nan_to_num(1.0).sqrt().clamp_min(least)
