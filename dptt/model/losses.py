"""Misfit between measured and modelled diffraction patterns, each with its derivative dL/dI.

Both are sums over the valid pixels, in electrons; the curvature of the loss with respect to the amplitude sqrt(I)
near the optimum is `curvature`, from which the solvers derive their step sizes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Misfit:
    """A loss: called with (model, measured) intensities it returns (summed loss, dL/dI)."""

    kind: str
    """``amplitude`` or ``poisson``."""
    epsilon: float
    """Floor of the intensities [electrons per pixel], [P] eq. 16."""
    mask: Bool[Tensor, "y x"] | None = None
    """Valid detector pixels in corner order; None if all are."""

    @property
    def curvature(self) -> float:
        """d²L/d(sqrt I)² at the optimum: 2 for amplitudes, 4 for Poisson."""
        return {"amplitude": 2.0, "poisson": 4.0}[self.kind]

    def __call__(
        self, model: Float[Tensor, "pos y x"], measured: Float[Tensor, "pos y x"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "pos y x"]]:
        """Return the summed loss and its derivative with respect to the model intensity."""
        value, slope = _LOSSES[self.kind](model, measured, self.epsilon)
        if self.mask is not None:
            # not a product: masked pixels may be NaN
            value, slope = value.masked_fill(~self.mask, 0), slope.masked_fill(~self.mask, 0)
        return value.sum(), slope


def shot_noise_loss(misfit: Misfit, mean: Float[Tensor, "y x"], draws: int = 16) -> float:
    """Return the loss per electron that Poisson noise alone leaves of patterns like `mean` [electrons per pixel]."""
    generator = torch.Generator().manual_seed(0)
    expected = mean.clamp_min(0).expand(draws, *mean.shape)
    loss, _ = misfit(expected, torch.poisson(expected, generator))
    return loss.item() / max(expected.sum().item(), torch.finfo(mean.dtype).tiny)


def amplitude_loss(
    model: Float[Tensor, "*pos y x"], measured: Float[Tensor, "*pos y x"], epsilon: float
) -> tuple[Float[Tensor, "*pos y x"], Float[Tensor, "*pos y x"]]:
    """Return (sqrt(I + eps) - sqrt(D + eps))² per pixel and its dL/dI ([P] eq. 16)."""
    modelled, observed = torch.sqrt(model + epsilon), torch.sqrt(measured + epsilon)
    return (modelled - observed).square(), 1 - observed / modelled


def poisson_loss(
    model: Float[Tensor, "*pos y x"], measured: Float[Tensor, "*pos y x"], epsilon: float
) -> tuple[Float[Tensor, "*pos y x"], Float[Tensor, "*pos y x"]]:
    """Return the negative Poisson log-likelihood I - D log I per pixel, less its value at I = D, and dL/dI."""
    modelled, observed = model + epsilon, measured + epsilon
    ratio = observed / modelled
    return modelled - observed + observed * torch.log(ratio), 1 - ratio


_LOSSES: dict[str, Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]] = {
    "amplitude": amplitude_loss,
    "poisson": poisson_loss,
}
