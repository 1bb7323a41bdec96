"""Losses that kernels compute themselves, pixel by pixel, beside the patterns: `model.losses.Misfit` is one.

Any other callable of (model, measured) works too, on the plain path.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

KINDS = ("amplitude", "poisson")
"""(sqrt(I + eps) - sqrt(D + eps))², and I - D - D log(I/D) with eps added to both."""


@runtime_checkable
class PixelLoss(Protocol):
    """A loss that is known by its name; calling it gives the same numbers."""

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        ...

    @property
    def epsilon(self) -> float:
        """Floor of the intensities [electrons per pixel]."""
        ...

    @property
    def mask(self) -> Bool[Tensor, "y x"] | None:
        """Valid detector pixels in corner order; None if all are."""
        ...

    def __call__(
        self, model: Float[Tensor, "pos y x"], measured: Float[Tensor, "pos y x"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "pos y x"]]:
        """Return the summed loss and its derivative with respect to the model intensity."""
        ...


def valid_pixels(loss: PixelLoss, window: tuple[int, int]) -> Bool[Tensor, "y x"]:
    """Return the mask of a loss, of all pixels if it has none."""
    return torch.ones(window, dtype=torch.bool) if loss.mask is None else loss.mask


def is_pixel_loss(loss: object) -> bool:
    """Return whether kernels know `loss` by its name."""
    return isinstance(loss, PixelLoss) and loss.kind in KINDS
