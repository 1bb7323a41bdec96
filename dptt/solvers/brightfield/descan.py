"""Descan, measured before anything is known of the specimen: how the centre of the patterns moves with the scan.

The centre of mass of a pattern is moved by the specimen too, by its gradient, most where there are atoms. So a plane
is fitted to the centres with Tukey's weights, which leave out what is far from it; vacuum and the even parts decide.
Around an isolated particle the gradients do not cancel: an unweighted plane would see a defocus in them.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

ITERATIONS = 30
TUKEY = 4.685
"""Residuals in standard deviations from which a pattern has no weight; 95 % efficient for normal ones."""
FEWEST = 12
"""Patterns below which nothing is measured."""


@dataclass(frozen=True)
class Descan:
    """By how much patterns are displaced: matrix times position plus offset."""

    matrix: Float[Tensor, "2 2"]
    """[pixels/Å], of (y, x)."""
    offset: Float[Tensor, "2"]
    """[pixels]"""
    significance: float
    """Of the matrix: chi² per degree of freedom, by the scatter of the centres."""

    def shifts(self, positions: Float[Tensor, "pos 2"]) -> Float[Tensor, "pos 2"]:
        """Return the displacement that depends on the position [pixels]; the offset is left as it is."""
        return positions @ self.matrix.T


def measured_descan(positions: Float[Tensor, "pos 2"], centres: Float[Tensor, "pos 2"]) -> Descan:
    """Return the plane through the `centres` [pixels] of the patterns at `positions` [Å]; zeros if that is no matter.

    Positions along a line, or too few of them, give zeros.
    """
    nothing = Descan(torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), 0.0)
    middle = positions.mean(0)
    design = torch.cat([positions - middle, torch.ones_like(positions[:, :1])], dim=1)
    if len(positions) < FEWEST or torch.linalg.matrix_rank(design) < 3:
        return nothing
    weights = torch.ones(len(positions), dtype=torch.float64)
    for _ in range(ITERATIONS):
        normal = (weights[:, None] * design).T @ design
        plane = torch.linalg.solve(normal, (weights[:, None] * design).T @ centres)
        residual = torch.linalg.vector_norm(centres - design @ plane, dim=1)
        width = (residual.median() / 1.1774).clamp_min(1e-12)  # the median of a Rayleigh law is 1.1774 sigma
        weights = (1 - (residual / (TUKEY * width)).square()).clamp_min(0).square()
    slope = plane[:2]
    chi2 = (slope * (normal[:2, :2] @ slope)).sum() / (4 * width.square())
    return Descan(slope.T, plane[2] - slope.T @ middle, chi2.item())
