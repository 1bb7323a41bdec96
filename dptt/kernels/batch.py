"""Arguments and results of the multislice kernels, the same for every implementation."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int, Shaped
from torch import Tensor

Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(model intensity, measured intensity) [electrons] -> (summed loss, dL/dI), for instance `model.losses.Misfit`."""


Finished = Callable[[slice, Tensor], None]
"""Called with some slices and the gradients of their transmission once these are complete; with every slice once."""


@dataclass(frozen=True)
class Batch:
    """Scan positions of one tilt: the slices that their waves pass through, and the measured patterns."""

    transmission: Complex[Tensor, "slice Y X"]
    """exp(i sigma V) of every slice, on the image grid."""
    probe: Complex[Tensor, "mode y x"]
    """Modes in front of the first slice, window centred at n//2, sum |probe|² = electrons per pattern."""
    corners: Int[Tensor, "pos 2"]
    """Of the windows [pixels], and the remainders `shifts`: see `physics.patches.split_positions`."""
    shifts: Float[Tensor, "pos 2"]
    """[pixels]"""
    measured: Shaped[Tensor, "pos y x"]
    """Patterns in corner order, in the detector's own type."""
    propagator: Complex[Tensor, "y x"]
    """Between slices, corner order."""
    loss: Loss
    measured_scale: float = 1.0
    """Electrons per count."""
    pattern_shifts: Float[Tensor, "pos 2"] | None = None
    """By how much every pattern is displaced along (y, x) [detector pixels]: a phase ramp on the exit wave, see
    `physics.probe.detector_shift`. None for patterns about the zero angle."""
    fast: bool = False
    """Whether to use products of half precision on a GPU's tensor cores, if it has them, for the adjoint steps; the
    loss is unchanged."""

    def __post_init__(self) -> None:
        if any(pixels > image for pixels, image in zip(self.window, self.image, strict=True)):
            raise ValueError(f"the probe window {self.window} is larger than the image {self.image} it scans")

    @property
    def window(self) -> tuple[int, int]:
        """Pixels of the probe (y, x)."""
        return self.probe.shape[-2], self.probe.shape[-1]

    @property
    def image(self) -> tuple[int, int]:
        """Pixels of the slices (Y, X)."""
        return self.transmission.shape[-2], self.transmission.shape[-1]

    @property
    def corners_within(self) -> Int[Tensor, "pos 2"]:
        """Corners within the image, which is periodic."""
        return self.corners % torch.tensor(self.image, device=self.corners.device)


@dataclass(frozen=True)
class MultisliceGradient:
    """Sums over the positions of a batch, but for the gradients of the positions themselves."""

    loss: Float[Tensor, ""]
    transmission: Complex[Tensor, "slice Y X"]
    probe: Complex[Tensor, "mode y x"]
    shifts: Float[Tensor, "pos 2"]
    """dL/d(position) [1/pixel], one row a position."""
    illumination: Float[Tensor, "Y X"]
    """Electrons on each pixel of the entrance plane: sum over positions and modes of |probe|²."""


def finished_together(gradient: MultisliceGradient, finished: Finished | None) -> MultisliceGradient:
    """Report all slices at once, for implementations in which every position goes through all of them."""
    if finished is not None:
        finished(slice(len(gradient.transmission)), gradient.transmission)
    return gradient
