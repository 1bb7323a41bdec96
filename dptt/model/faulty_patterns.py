"""Which patterns are faults of beam or detector: the one rule for them, by the electrons on the valid pixels.

A pattern is empty or overexposed if its count is improbable by Poisson statistics for every plausible mean. Plausible
means lie between a quarter of the darkest and four times the brightest pattern of the tilt, among those that a
specimen can cause: no gap by a factor of four separates them from the typical pattern. A pattern with the beam off,
or exposed ten times too long, stands apart; vacuum and thick parts are joined by what lies between.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

REACH = 4.0
"""Largest factor between the means of neighbouring patterns, in the order of their totals, that a specimen causes."""
FALSE_RATE = 1e-3
"""Probability that a series loses a good pattern to either limit."""
SHOT_NOISE_OF_ROOT = 2.0
"""Four standard deviations of the square root of a count: so much of the spread of totals may be noise."""
GAUSSIAN_ABOVE = 1e6
"""Electrons above which a Poisson law is taken for a normal one."""
MOST = 0.5
"""Fraction of refused patterns above which a tilt is refused."""


@dataclass(frozen=True)
class FaultyPatterns:
    """Which patterns are faulty, and why."""

    empty: Bool[np.ndarray, " pos"]
    overexposed: Bool[np.ndarray, " pos"]

    @property
    def any_kind(self) -> Bool[np.ndarray, " pos"]:
        """Patterns that are empty or overexposed."""
        return self.empty | self.overexposed


@dataclass(frozen=True)
class PatternLimits:
    """How many electrons a good pattern of a tilt holds."""

    typical: float
    """Median of the patterns that hold any; zero if none does."""
    least: float
    """Patterns with fewer electrons are empty; zero at a dose where a good pattern may hold none."""
    most: float
    """Patterns with more electrons are overexposed."""

    def judge(self, totals: Float[np.ndarray, " pos"]) -> FaultyPatterns:
        """Return which patterns are empty or overexposed, by their `totals` [electrons].

        NaN is neither: it is no fault of the beam, and the caller decides.
        """
        empty = (totals < self.least) & (self.least > 0)  # negative totals come from read-out noise
        return FaultyPatterns(empty, totals > self.most)

    def refusal(self, totals: Float[np.ndarray, " pos"]) -> str:
        """Return why a tilt with these patterns is refused, nothing unless most of them are faulty."""
        faulty = self.judge(totals)
        refused = int(faulty.any_kind.sum())
        if refused <= MOST * len(totals):
            return ""
        return (
            f"{refused} of {len(totals)} patterns are faulty: {int(faulty.empty.sum())} are empty and "
            f"{int(faulty.overexposed.sum())} overexposed. The typical pattern holds {self.typical:.6g} electrons on "
            f"valid pixels; expected {self.least:g} to {self.most:g} in at least half of the patterns. Check beam, "
            "blanker and exposure, and mask hot pixels"
        )


def pattern_limits(totals: Float[np.ndarray, " pos"], patterns_in_series: int) -> PatternLimits:
    """Return the limits of a tilt from a sample of its `totals` [electrons]; NaN does not count."""
    ordered = np.sort(totals[totals > 0])
    if not len(ordered):
        return PatternLimits(0.0, 0.0, math.inf)
    darkest, brightest = _plausible_means(ordered)
    rate = FALSE_RATE / 2 / patterns_in_series
    return PatternLimits(float(ordered[len(ordered) // 2]), _fewest(darkest, rate), _largest(brightest, rate))


def pattern_totals(
    counts: Shaped[np.ndarray, "pos ky kx"], mask: Bool[np.ndarray, "ky kx"] | None
) -> Float[np.ndarray, " pos"]:
    """Return the sum of every pattern over the valid pixels of `mask`, over all pixels if it is None.

    A hot pixel that the mask excludes does not count: a single one would make every pattern overexposed.
    """
    if mask is None:
        return counts.sum((1, 2), dtype=np.float64)
    return counts.sum((1, 2), dtype=np.float64, where=mask)


def _plausible_means(ordered: Float[np.ndarray, " pos"]) -> tuple[float, float]:
    """Return the smallest and the largest plausible mean, from positive totals in ascending order."""
    middle = len(ordered) // 2
    gaps = np.flatnonzero(ordered[1:] > REACH * ordered[:-1])
    below, above = gaps[gaps < middle], gaps[gaps >= middle]
    first = below[-1] + 1 if len(below) else 0
    last = above[0] if len(above) else len(ordered) - 1
    typical = float(ordered[middle])
    darkest = (math.sqrt(ordered[first]) + SHOT_NOISE_OF_ROOT) ** 2
    brightest = max(math.sqrt(ordered[last]) - SHOT_NOISE_OF_ROOT, 0.0) ** 2
    return min(typical, darkest) / REACH, max(typical, brightest) * REACH


def _fewest(mean: float, rate: float) -> float:
    """Return the smallest count that is not improbable: P(fewer | mean) <= rate."""
    if mean > GAUSSIAN_ABOVE:
        return float(math.floor(mean - _normal_quantile(rate) * math.sqrt(mean)))
    counts = _counts_about(mean)
    no_more = torch.special.gammaincc(counts + 1, counts.new_tensor(mean))  # P(count or fewer)
    return counts[no_more > rate][0].item()


def _largest(mean: float, rate: float) -> float:
    """Return the largest count that is not improbable: P(more | mean) <= rate."""
    if mean > GAUSSIAN_ABOVE:
        return float(math.ceil(mean + _normal_quantile(rate) * math.sqrt(mean)))
    counts = _counts_about(mean)
    more = torch.special.gammainc(counts + 1, counts.new_tensor(mean))  # P(more than count)
    return max(counts[more <= rate][0].item(), 1.0)  # of patterns scaled far below one electron, none is overexposed


def _normal_quantile(rate: float) -> float:
    """Return the deviation, in standard deviations, that is exceeded with probability `rate`."""
    return -torch.special.ndtri(torch.tensor(rate, dtype=torch.float64)).item()


def _counts_about(mean: float) -> Float[Tensor, " count"]:
    """Return all counts within twelve standard deviations of `mean`, and sixty more on either side."""
    width = 12 * math.sqrt(mean) + 60
    return torch.arange(max(0, math.floor(mean - width)), math.ceil(mean + width), dtype=torch.float64)
