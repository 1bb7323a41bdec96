"""Which patterns are faults of beam or detector: the one rule for them, by the electrons on the valid pixels."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped

EMPTY_BELOW, OVEREXPOSED_ABOVE = 0.25, 4.0
"""Patterns with fewer or more electrons than these multiples of a typical pattern of the tilt are faulty."""


@dataclass(frozen=True)
class FaultyPatterns:
    """Which patterns are faulty, and why."""

    empty: Bool[np.ndarray, " pos"]
    overexposed: Bool[np.ndarray, " pos"]

    @property
    def any_kind(self) -> Bool[np.ndarray, " pos"]:
        """Patterns that are empty or overexposed."""
        return self.empty | self.overexposed


def faulty_patterns(totals: Float[np.ndarray, " pos"], typical: float) -> FaultyPatterns:
    """Return which patterns are empty or overexposed, by their `totals` and a `typical` total in the same unit.

    NaN is neither: it is no fault of the beam, and the caller decides.
    """
    return FaultyPatterns(totals < EMPTY_BELOW * typical, totals > OVEREXPOSED_ABOVE * typical)


def pattern_totals(
    counts: Shaped[np.ndarray, "pos ky kx"], mask: Bool[np.ndarray, "ky kx"] | None
) -> Float[np.ndarray, " pos"]:
    """Return the sum of every pattern over the valid pixels of `mask`, over all pixels if it is None.

    A hot pixel that the mask excludes does not count: a single one would make every pattern overexposed.
    """
    if mask is None:
        return counts.sum((1, 2), dtype=np.float64)
    return counts.sum((1, 2), dtype=np.float64, where=mask)
