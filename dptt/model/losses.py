"""The misfit between measured and modelled diffraction patterns of one tilt, with its derivative dL/dI.

It is a sum over the valid pixels, in electrons. The formulas are in the table `kernels.losses.LOSSES`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from dptt.kernels.losses import LOSSES
from dptt.physics.point_spread import spread, spread_weights


@dataclass(frozen=True)
class Misfit:
    """A loss: called with (model, measured) intensities it returns (summed loss, dL/dI)."""

    kind: str
    """``amplitude`` or ``poisson``."""
    epsilon: float
    """Floor of the intensities [electrons per pixel], [P] eq. 16, plus the `background`."""
    mask: Bool[Tensor, "y x"] | None = None
    """Valid detector pixels in corner order; None if all are."""
    background: float = 0.0
    """Mean background [electrons per pixel]. The patterns come without it, see `net`: a loss of I + eps + b and
    (D - b) + eps + b is that of I + b and D, so that kernels need not know of it."""
    blur: float = 0.0
    """Variance of the detector's point spread [pixels²], see `physics.point_spread`."""

    @property
    def spread(self) -> Float[Tensor, " tap"]:
        """Weights of the point spread; 1 alone of a detector that has none."""
        return spread_weights(self.blur)

    @property
    def floor(self) -> float:
        """Floor of the intensities without the background [electrons per pixel]."""
        return self.epsilon - self.background

    def net(
        self, measured: Shaped[Tensor, "pos y x"], scale: float, dtype: torch.dtype
    ) -> tuple[Shaped[Tensor, "pos y x"], float]:
        """Return patterns without background, and electrons per count of the result; as they are if there is none."""
        if not self.background:
            return measured, scale
        return measured.to(dtype) * scale - self.background, 1.0

    def curvature(self, brightest: float) -> float:
        """Return d²L/d(sqrt I)² at the optimum of the `brightest` pixel [electrons]; no other pixel has more.

        The solvers derive their step sizes from it. A point spread raises no curvature: of the amplitudes a that it
        mixes, (sum w a da)² <= (sum w a²) (sum w da²).
        """
        return LOSSES[self.kind].curvature * brightest / (brightest + self.epsilon)

    def __call__(
        self, model: Float[Tensor, "pos y x"], measured: Float[Tensor, "pos y x"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "pos y x"]]:
        """Return the summed loss and its derivative with respect to the model intensity, which is not blurred yet."""
        value, slope = LOSSES[self.kind].value_and_slope(self.counted(model), measured, self.epsilon)
        if self.mask is not None:
            # not a product: masked pixels may be NaN
            value, slope = value.masked_fill(~self.mask, 0), slope.masked_fill(~self.mask, 0)
        return value.sum(), self.counted(slope)

    def counted(self, intensity: Float[Tensor, "pos y x"]) -> Float[Tensor, "pos y x"]:
        """Return intensities as the detector's point spread leaves them; its own adjoint."""
        return spread(intensity, self.spread) if self.blur else intensity
