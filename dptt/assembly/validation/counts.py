"""Checks of the counts: are they electrons? Shot noise between neighbouring positions tells the gain."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dptt.assembly.validation.detector import DetectorSample
from dptt.assembly.validation.record import RIGHT, UNKNOWN, WRONG, Check
from dptt.assembly.validation.samples import least_tilted, patterns_in_sample
from dptt.io.dataset import Tilt, TiltSeries

TILTS, PATTERNS = 3, 400
"""Tilts, and successive patterns of each, that are evaluated."""
FEWEST_ELECTRONS = 2.0
"""Mean electrons in a pattern of other than whole numbers below which it must have been scaled."""
NOISELESS, SMOOTH, NOISY = 0.05, 0.75, 1.35
"""Variance over mean: below the first there is no shot noise at all, between the others that of electrons."""
QUIETEST = 0.1
"""Share of the positions, those of least variance, that count: there the specimen varies least."""
QUIETEST_BELOW_MEAN = 1.3
"""Standard deviations by which the `QUIETEST` of normal numbers are below their mean."""


@dataclass(frozen=True)
class CountSample:
    """Counts of successive patterns of one tilt.

    Parameters
    ----------
    electrons
        Median electrons in a pattern.
    spread
        Relative standard deviation of the electrons.
    highest
        Highest values of the patterns, in counts, (n,).
    whole
        Largest whole number that divides all counts; 0 if they are no whole numbers.
    variance_over_mean
        Of electrons, in the quietest part of the scan; NaN if there are too few electrons or positions.
    """

    electrons: float
    spread: float
    highest: NDArray[np.float64]
    whole: int
    variance_over_mean: float


def sample_counts(series: TiltSeries, samples: Sequence[DetectorSample]) -> list[CountSample]:
    """Return counts of up to `TILTS` tilts; `samples` know the valid pixels."""
    valid = {sample.tilt: sample.valid for sample in samples}
    return [_sample(tilt, valid.get(tilt.name, tilt.mask())) for tilt in least_tilted(series.tilts, TILTS)]


def _sample(tilt: Tilt, valid: NDArray[np.bool_] | None) -> CountSample:
    number = patterns_in_sample(tilt, PATTERNS)
    first = (tilt.num_positions - number) // 2
    patterns = tilt.read(slice(first, first + number))
    counts = (patterns.reshape(len(patterns), -1) if valid is None else patterns[:, valid]).astype(np.float64)
    counts = np.nan_to_num(counts, nan=0.0, posinf=0.0, neginf=0.0)
    totals = counts.sum(1) / tilt.counts_per_electron
    whole = bool((counts == np.round(counts)).all())
    return CountSample(
        electrons=float(np.median(totals)),
        spread=float(totals.std() / max(totals.mean(), 1e-300)),
        highest=counts.max(1),
        whole=int(np.gcd.reduce(np.unique(counts).astype(np.int64))) if whole else 0,
        variance_over_mean=_variance_over_mean(counts / tilt.counts_per_electron),
    )


def _variance_over_mean(electrons: NDArray[np.float64]) -> float:
    """Return variance over mean of (position, pixel) from second differences of three successive positions."""
    if len(electrons) < 12:
        return float("nan")
    before, here, after = electrons[:-2], electrons[1:-1], electrons[2:]
    used = electrons.mean(0) > 0
    mean = ((before + here + after) / 3)[:, used].sum(1)
    variance = ((before - 2 * here + after) ** 2 / 6)[:, used].sum(1)
    bright = mean > 0.25 * np.median(mean)
    return float(np.quantile(variance[bright] / mean[bright], QUIETEST)) if bright.any() else float("nan")


def electrons_check(counts: Sequence[CountSample], series: TiltSeries) -> Check:
    """Return whether patterns hold electrons, not shares of them."""
    per_count = series.tilts[0].counts_per_electron
    electrons = float(np.median([one.electrons for one in counts]))
    told, measured = f"{per_count:g} counts are one", f"{electrons:.4g} in a pattern"
    cure = (
        "Set import.detector.counts_per_electron: the sum of a pattern divided by its electrons, "
        "beam current x dwell time / 1.602e-19 C."
    )
    if all(one.whole for one in counts):
        return Check("electrons", told, f"{measured}, whole numbers", RIGHT)
    if all((one.highest == 1.0).all() for one in counts):
        return Check("electrons", told, "the brightest pixel of every pattern is exactly 1", WRONG, cure)
    if electrons <= FEWEST_ELECTRONS:
        same = max(one.spread for one in counts) < 1e-4
        return Check("electrons", told, f"{measured}{', always the same' * same}, no whole numbers", WRONG, cure)
    return Check("electrons", told, f"{measured}, no whole numbers", UNKNOWN)


def statistics_check(counts: Sequence[CountSample], series: TiltSeries, blocked: str = "") -> Check:
    """Return whether the counts scatter as electrons do; `blocked` says why it cannot be told."""
    told = "variance = mean, in electrons"
    values = [one.variance_over_mean for one in counts if np.isfinite(one.variance_over_mean)]
    if blocked or not values:
        return Check("shot noise", told, blocked or "too few patterns", UNKNOWN)
    found, gain = float(np.median(values)), min(one.whole for one in counts)
    per_count = series.tilts[0].counts_per_electron
    measured = f"variance / mean = {found:.2f}"
    if gain > 1 and abs(gain / per_count - 1) > 0.05:
        cure = f"Set import.detector.counts_per_electron: {gain}."
        return Check("shot noise", told, f"all counts are multiples of {gain}", WRONG, cure)
    if found < NOISELESS:
        return Check("shot noise", told, f"{measured}: simulated without noise, or smoothed", UNKNOWN)
    if found < SMOOTH - QUIETEST_BELOW_MEAN * _scatter(counts):
        cure = (
            f"Electrons cannot scatter so little: smoothed patterns, or import.detector.counts_per_electron is too "
            f"large by {1 / found:.2g}."
        )
        return Check("shot noise", told, measured, WRONG, cure)
    if found < SMOOTH:
        return Check("shot noise", told, f"{measured}; too few electrons in a pattern", UNKNOWN)
    if found <= NOISY:
        return Check("shot noise", told, measured, RIGHT)
    return Check("shot noise", told, f"{measured} at most: gain, or a specimen that varies", UNKNOWN)


def too_few_electrons(counts: Sequence[CountSample]) -> str:
    """Return why patterns of counts show no optics: they are nearly empty; empty if they are not."""
    electrons = float(np.median([one.electrons for one in counts]))
    nearly_empty = all(one.whole for one in counts) and electrons < FEWEST_ELECTRONS
    return f"fewer than {FEWEST_ELECTRONS:g} electrons in a pattern" if nearly_empty else ""


def _scatter(counts: Sequence[CountSample]) -> float:
    """Return the relative standard deviation of the variance of one position with its two neighbours.

    n electrons that are spread over many pixels give the second difference a variance of n and a scatter of sqrt(2n).
    """
    return float(np.sqrt(2 / max(min(one.electrons for one in counts), 1.0)))
