"""Lower weights for tilts that fit much worse than the median, so that they do not carve errors into the volume."""

from typing import TypeVar

import numpy as np
from torch import Tensor

Array = TypeVar("Array", np.ndarray, Tensor)

SMALLEST_ERROR = 1e-30
"""Keeps the quotient finite where a tilt fits perfectly."""


def outlier_weights(errors: Array, *, median: Array | float, tolerated: float, power: int) -> Array:
    """Return a weight for each tilt: 1 up to `tolerated` times the median error, falling with `power` beyond.

    Parameters
    ----------
    errors
        How badly each tilt fits, one number for each tilt, not negative.
    median
        Of the errors.
    tolerated
        Multiple of the median up to which a tilt keeps its full weight.
    power
        Beyond it, the weight is (limit / error) to this power.
    """
    return (tolerated * median / errors.clip(min=SMALLEST_ERROR)).clip(max=1.0) ** power
