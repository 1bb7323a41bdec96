"""Good patterns stay, whatever the dose and the specimen; empty and overexposed ones go where the dose can tell."""

import math

import numpy as np
import pytest
from scipy.stats import poisson

from dptt.model.faulty_patterns import FALSE_RATE, REACH, PatternLimits, pattern_limits

PATTERNS_IN_SERIES = 20_000


def counts_of(random, mean, size=None) -> np.ndarray:
    return random.poisson(mean, size).astype(float)


def limits_of(totals, sampled=256) -> PatternLimits:
    chosen = np.unique(np.linspace(0, len(totals) - 1, sampled).astype(int))
    return pattern_limits(totals[chosen], PATTERNS_IN_SERIES)


@pytest.mark.parametrize(
    ("mean", "empty_are_recognised", "overexposed_recognised"),
    [
        (0.1, False, 0.0),
        (1, False, 0.002),
        (2, False, 0.03),
        (4, False, 0.3),
        (8, False, 0.9),
        (16, False, 1.0),
        (100, True, 1.0),
        (1e4, True, 1.0),
        (1e8, True, 1.0),
    ],
)
def test_no_good_pattern_is_refused_at_any_dose(mean, empty_are_recognised, overexposed_recognised):
    random = np.random.default_rng(0)
    good = counts_of(random, mean, PATTERNS_IN_SERIES)
    limits = limits_of(good)
    kept = good[~limits.judge(good).any_kind]
    assert len(kept) == len(good) and kept.mean() == good.mean()
    assert limits.judge(np.zeros(1)).empty[0] == empty_are_recognised
    overexposed = limits.judge(counts_of(random, 10 * mean, 10_000)).overexposed.mean()
    assert overexposed >= overexposed_recognised


@pytest.mark.parametrize("mean", [1.0, 30.0, 80.0, 1e3, 1e5])
def test_limits_have_the_stated_false_rate(mean):
    """At the least favourable plausible means; one count further in, the rate would be exceeded."""
    limits = pattern_limits(np.full(9, mean), PATTERNS_IN_SERIES)
    rate = FALSE_RATE / 2 / PATTERNS_IN_SERIES
    low, high = poisson(mean / REACH), poisson(mean * REACH)
    assert low.cdf(limits.least - 1) <= rate < low.cdf(limits.least)
    assert high.sf(limits.most) <= rate * (1 + 1e-6) and rate < high.sf(limits.most - 1)


def test_limits_of_many_electrons_continue_those_of_fewer():
    """The normal law takes over from Poisson's at 1e6 electrons."""
    for mean in (1e6, 4e6):
        below, above = (pattern_limits(np.full(3, mean * f), PATTERNS_IN_SERIES) for f in (1 - 1e-6, 1 + 1e-6))
        assert below.least == pytest.approx(above.least, rel=1e-4)
        assert below.most == pytest.approx(above.most, rel=1e-4)


@pytest.mark.parametrize("electrons", [3.0, 100.0, 1e5])
@pytest.mark.parametrize("direction", [-1, 1], ids=["dark specimen", "bright specimen"])
def test_a_specimen_may_vary_the_total_thirtyfold(electrons, direction):
    """As in the dark field: vacuum is typical, and a particle on a quarter of the scan has an edge of some width."""
    y, x = np.meshgrid(np.linspace(-1, 1, 80), np.linspace(-1, 1, 80), indexing="ij")
    thickness = np.clip(1 - (y**2 + x**2) / 0.6**2, 0, None)
    mean = electrons * 30.0 ** (direction * np.minimum(2 * thickness, 1)).ravel()
    totals = counts_of(np.random.default_rng(1), mean)
    assert not limits_of(totals).judge(totals).any_kind.any()


@pytest.mark.parametrize("portion", [0.01, 0.1, 0.4])
def test_patterns_that_stand_apart_are_refused_however_many(portion):
    random = np.random.default_rng(2)
    kind = random.choice(3, 4000, p=[1 - portion, portion / 2, portion / 2])
    totals = counts_of(random, np.array([400.0, 1.0, 4000.0])[kind])
    faulty = limits_of(totals).judge(totals)
    np.testing.assert_array_equal(faulty.empty, kind == 1)
    np.testing.assert_array_equal(faulty.overexposed, kind == 2)


def test_with_the_beam_off_most_of_the_time_the_rest_is_typical_and_the_tilt_refused():
    totals = np.where(np.arange(200) % 10 < 6, 0.0, counts_of(np.random.default_rng(3), 500, 200))
    limits = limits_of(totals)
    assert limits.typical == pytest.approx(500, rel=0.05)
    assert limits.judge(totals).empty.sum() == 120 and not limits.judge(totals).overexposed.any()
    refusal = limits.refusal(totals)
    assert refusal.startswith("120 of 200 patterns are faulty: 120 are empty and 0 overexposed.")
    assert f"expected {limits.least:g} to {limits.most:g}" in refusal
    assert limits.refusal(totals[np.flatnonzero(totals)]) == ""


def test_nothing_is_refused_for_what_is_no_fault_of_the_beam():
    """NaN stops the run elsewhere, and read-out noise makes totals of a few electrons negative."""
    limits = pattern_limits(np.array([np.nan, -0.7, 2.0, 3.0, 1.0]), PATTERNS_IN_SERIES)
    assert not limits.judge(np.array([np.nan, -0.7, 0.0])).any_kind.any()
    assert pattern_limits(np.zeros(5), PATTERNS_IN_SERIES) == PatternLimits(0.0, 0.0, math.inf)


@pytest.mark.parametrize("scale", [1e-25, 1e-9, 1e-3])
def test_patterns_scaled_far_below_one_electron_are_not_refused(scale):
    totals = scale * np.random.default_rng(0).poisson(1e4, 500)
    limits = pattern_limits(totals, 5733)
    assert not limits.judge(totals).any_kind.any() and limits.refusal(totals) == ""
