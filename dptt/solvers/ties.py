"""A choice between candidates that are equally good but for rounding, so that no number of threads changes it."""

import math
from collections.abc import Sequence

ROUNDING = 1e-6
"""Relative difference that decides nothing."""


def first_smallest(values: Sequence[float]) -> int:
    """Return the index of the first of the values that are the smallest but for rounding; NaN is never small."""
    smallest = min((value for value in values if not math.isnan(value)), default=math.nan)
    limit = smallest + ROUNDING * abs(smallest)
    return next((index for index, value in enumerate(values) if value <= limit), 0)
