"""A detector's point spread against scipy, its definition, and finite differences."""

import numpy as np
import pytest
import torch
from checks import assert_adjoint, random_tensor
from scipy.ndimage import gaussian_filter

from dptt.physics.point_spread import (
    LARGEST_VARIANCE,
    spread,
    spread_derivative,
    spread_slopes,
    spread_weights,
    variance_of,
    width_of,
)


@pytest.mark.parametrize("width", [0.3, 0.45, 0.8, 1.7])
def test_it_is_a_sampled_gaussian(width):
    pattern = random_tensor(2, 19, 16)
    expected = gaussian_filter(pattern.numpy(), (0, width, width), mode="wrap", truncate=6)
    np.testing.assert_allclose(spread(pattern, spread_weights(variance_of(width))), expected, atol=3e-7)


@pytest.mark.parametrize("variance", [1e-6, 0.01, 0.2, 1.3, LARGEST_VARIANCE])
def test_its_parameter_is_the_variance(variance):
    weights = spread_weights(variance)
    n = torch.arange(len(weights))
    assert 2 * (n**2 * weights).sum().item() == pytest.approx(variance, rel=1e-5)
    assert (2 * weights.sum() - weights[0]).item() == pytest.approx(1, rel=1e-14)
    assert variance_of(width_of(variance)) == pytest.approx(variance, rel=1e-9)


@pytest.mark.parametrize("variance", [0.0, 1e-3, 0.2, 2.0])
def test_derivatives_are_those_of_finite_differences(variance):
    pattern, step = random_tensor(1, 12, 11), 1e-5
    (above, below) = (spread(pattern, spread_weights(v)) for v in (variance + step, abs(variance - step)))
    expected = (above - pattern) / step if variance == 0 else (above - below) / (2 * step)
    torch.testing.assert_close(spread_derivative(pattern, variance), expected, rtol=1e-3, atol=3e-4)
    assert abs((2 * spread_slopes(variance).sum() - spread_slopes(variance)[0]).item()) < 1e-9


def test_it_keeps_every_electron_and_is_its_own_adjoint():
    weights = spread_weights(0.4)
    pattern = random_tensor(3, 9, 4)
    assert spread(pattern, weights).sum().item() == pytest.approx(pattern.sum().item(), rel=1e-13)
    assert_adjoint(lambda a: spread(a, weights), lambda a: spread(a, weights), pattern)


def test_none_changes_nothing():
    pattern = random_tensor(1, 5, 6)
    assert torch.equal(spread(pattern, spread_weights(0.0)), pattern)
    assert width_of(0.0) == variance_of(0.0) == 0


def test_more_than_any_detector_is_refused():
    with pytest.raises(ValueError, match="at most 9"):
        spread_weights(9.1)
