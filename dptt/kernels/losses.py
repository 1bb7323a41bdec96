"""The losses between modelled and measured intensities: one table of value, slope and curvature.

A new loss is an entry here and a branch in the compiled kernels, which compute it pixel by pixel beside the patterns:
`misfit_` in `cpu/waves.py`, `residual` in `triton/waves.py`, `misfit` in `cuda/detector.cuh`. Any other callable of
(model, measured) works too, on the plain path.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

LARGEST_RATIO = 4.0
"""Of observed to modelled electrons up to which the Poisson loss is exact; beyond, it goes on along its tangent."""
FAR_SLOPE = (1 - LARGEST_RATIO) / math.sqrt(LARGEST_RATIO)
FAR_VALUE = 1 - 1 / LARGEST_RATIO
"""Beyond it, dL/dI = `FAR_SLOPE` sqrt(ratio), and L = observed (`FAR_VALUE` + 2 `FAR_SLOPE` / sqrt(ratio) +
log(`LARGEST_RATIO`)). All three numbers are exact in single precision."""


def amplitude_loss(
    model: Float[Tensor, "*pos y x"], measured: Float[Tensor, "*pos y x"], epsilon: float
) -> tuple[Float[Tensor, "*pos y x"], Float[Tensor, "*pos y x"]]:
    """Return (sqrt(I + eps) - sqrt(D + eps))² per pixel and its dL/dI ([P] eq. 16)."""
    modelled, observed = torch.sqrt(model + epsilon), torch.sqrt(measured + epsilon)
    return (modelled - observed).square(), 1 - observed / modelled


def poisson_loss(
    model: Float[Tensor, "*pos y x"], measured: Float[Tensor, "*pos y x"], epsilon: float
) -> tuple[Float[Tensor, "*pos y x"], Float[Tensor, "*pos y x"]]:
    """Return the negative Poisson log-likelihood I - D log I per pixel, less its value at I = D, and dL/dI.

    `epsilon` is added to both I and D, which leaves the expected slope at the true rate zero. The curvature with
    respect to an amplitude, 2 (1 + ratio), has no bound where the model is dark: beyond `LARGEST_RATIO` the loss is
    linear in sqrt(I + epsilon). With half an electron added, counts at the true rate are practically never there.
    """
    modelled, observed = model + epsilon, measured + epsilon
    ratio = observed / modelled
    root, beyond = torch.sqrt(ratio), ratio > LARGEST_RATIO
    linear = torch.where(beyond, observed * (FAR_VALUE + 2 * FAR_SLOPE / root), modelled - observed)
    value = linear + observed * torch.log(ratio.clamp_max(LARGEST_RATIO))
    return value, torch.where(beyond, FAR_SLOPE * root, 1 - ratio)


@dataclass(frozen=True)
class LossFormula:
    """A loss per pixel, as a function of the modelled and the measured intensity."""

    code: int
    """Number of the loss in the compiled kernels."""
    curvature: float
    """d²L/d(sqrt I)² at the optimum I = D, far above epsilon."""
    dark_electrons: float
    """Electrons per pixel that are added to epsilon."""
    value_and_slope: Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]
    """(model, measured, epsilon) -> (loss per pixel, dL/dI)."""


AMPLITUDE = LossFormula(code=0, curvature=2.0, dark_electrons=0.0, value_and_slope=amplitude_loss)
POISSON = LossFormula(code=1, curvature=4.0, dark_electrons=0.5, value_and_slope=poisson_loss)
LOSSES = {"amplitude": AMPLITUDE, "poisson": POISSON}
"""By the name that the configuration uses."""


@runtime_checkable
class PixelLoss(Protocol):
    """A loss from the table: compiled kernels give the same numbers as calling it. `model.losses.Misfit` is one."""

    @property
    def kind(self) -> str:
        """Name in `LOSSES`."""
        ...

    @property
    def epsilon(self) -> float:
        """Floor of the intensities [electrons per pixel]."""
        ...

    @property
    def mask(self) -> Bool[Tensor, "y x"] | None:
        """Valid detector pixels in corner order; None if all are."""
        ...

    @property
    def spread(self) -> Float[Tensor, " tap"]:
        """Weights by which an intensity is spread over pixels along y and x; 1 alone if it is not."""
        ...

    def __call__(
        self, model: Float[Tensor, "pos y x"], measured: Float[Tensor, "pos y x"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "pos y x"]]:
        """Return the summed loss and its derivative with respect to the model intensity."""
        ...


def loss_code(loss: PixelLoss) -> int:
    """Return the number of a loss in the compiled kernels."""
    return LOSSES[loss.kind].code


def is_spread(loss: PixelLoss) -> bool:
    """Return whether intensities are spread before they are compared."""
    return len(loss.spread) > 1


def valid_pixels(loss: PixelLoss, window: tuple[int, int]) -> Bool[Tensor, "y x"]:
    """Return the mask of a loss, all True if it has none."""
    return torch.ones(window, dtype=torch.bool) if loss.mask is None else loss.mask


def is_pixel_loss(loss: object) -> bool:
    """Return whether the compiled kernels can compute `loss`."""
    return isinstance(loss, PixelLoss) and loss.kind in LOSSES
