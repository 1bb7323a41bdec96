"""The misfit between measured and modelled diffraction patterns of one tilt, with its derivative dL/dI.

It is a sum over the valid pixels, in electrons. The formulas are in the table `kernels.losses.LOSSES`.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from dptt.kernels.losses import LOSSES


@dataclass(frozen=True)
class Misfit:
    """A loss: called with (model, measured) intensities it returns (summed loss, dL/dI)."""

    kind: str
    """``amplitude`` or ``poisson``."""
    epsilon: float
    """Floor of the intensities [electrons per pixel], [P] eq. 16."""
    mask: Bool[Tensor, "y x"] | None = None
    """Valid detector pixels in corner order; None if all are."""

    def curvature(self, brightest: float) -> float:
        """Return d²L/d(sqrt I)² at the optimum of the `brightest` pixel [electrons]; no other pixel has more.

        The solvers derive their step sizes from it.
        """
        return LOSSES[self.kind].curvature * brightest / (brightest + self.epsilon)

    def __call__(
        self, model: Float[Tensor, "pos y x"], measured: Float[Tensor, "pos y x"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "pos y x"]]:
        """Return the summed loss and its derivative with respect to the model intensity."""
        value, slope = LOSSES[self.kind].value_and_slope(model, measured, self.epsilon)
        if self.mask is not None:
            # not a product: masked pixels may be NaN
            value, slope = value.masked_fill(~self.mask, 0), slope.masked_fill(~self.mask, 0)
        return value.sum(), slope
