import numpy as np
import pytest
import torch
from checks import directional_derivative, random_tensor
from scipy.special import gammaln

from dptt.model.losses import Misfit

SHAPE = (3, 4, 5)
KINDS = ["amplitude", "poisson"]


def model():
    return 5 * random_tensor(*SHAPE, seed=1).square() + 0.1


def measured():
    return torch.poisson(model(), generator=torch.Generator().manual_seed(2))


def test_amplitude_loss_is_equation_16():
    expected = ((np.sqrt(model().numpy() + 0.01) - np.sqrt(measured().numpy() + 0.01)) ** 2).sum()
    assert Misfit("amplitude", 0.01)(model(), measured())[0].item() == pytest.approx(expected, rel=1e-13)


def test_poisson_loss_is_the_negative_log_likelihood_less_its_smallest_value():
    """-log p(D | I) = I - D log I + log D!, with 0 log 0 = 0 at the optimum."""
    counts, rates = measured().numpy(), model().numpy()

    def negative_log_likelihood(rate):
        return (rate - counts * np.log(np.where(counts > 0, rate, 1)) + gammaln(counts + 1)).sum()

    expected = negative_log_likelihood(rates) - negative_log_likelihood(counts)
    assert Misfit("poisson", 1e-12)(model(), measured())[0].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_slope_is_the_derivative_of_the_loss(kind, masked):
    misfit = Misfit(kind, 0.01, random_tensor(*SHAPE[1:], seed=3) > 0 if masked else None)
    direction = random_tensor(*SHAPE, seed=4)
    numerical = directional_derivative(lambda i: misfit(i, measured())[0], model(), direction, 1e-3)
    assert (misfit(model(), measured())[1] * direction).sum().item() == pytest.approx(numerical.item(), rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_model_has_neither_loss_nor_slope(kind):
    loss, slope = Misfit(kind, 0.01)(measured(), measured())
    assert loss.abs() < 1e-14 and slope.abs().max() < 1e-15


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_outside_the_mask_count_for_nothing(kind):
    mask = random_tensor(*SHAPE[1:], seed=5) > 0
    loss, slope = Misfit(kind, 0.01, mask)(model(), measured())
    spoilt = torch.where(mask, measured(), 1e6)
    assert torch.equal(Misfit(kind, 0.01, mask)(model(), spoilt)[0], loss)
    assert (slope[:, ~mask] == 0).all()
    valid, _ = Misfit(kind, 0.01)(model()[:, mask][:, None], measured()[:, mask][:, None])
    torch.testing.assert_close(loss, valid)


@pytest.mark.parametrize("kind", KINDS)
def test_curvature_is_the_second_derivative_by_the_amplitude_at_the_optimum(kind):
    misfit, amplitude, step = Misfit(kind, 0.0), torch.full((1, 1, 1), 3.0).double(), 1e-3
    around = [misfit((amplitude + s * step) ** 2, amplitude**2)[0].item() for s in (-1, 0, 1)]
    assert (around[0] - 2 * around[1] + around[2]) / step**2 == pytest.approx(misfit.curvature, rel=1e-6)
