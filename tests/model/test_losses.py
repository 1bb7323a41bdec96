import numpy as np
import pytest
import torch
from checks import directional_derivative, random_tensor
from scipy.special import gammaln

from dptt.kernels.losses import LARGEST_RATIO, LOSSES
from dptt.model.losses import Misfit

SHAPE = (3, 4, 5)
KINDS = ["amplitude", "poisson"]


def model():
    return 5 * random_tensor(*SHAPE, seed=1).square() + 0.1


def measured():
    return torch.poisson(model(), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_of_net_patterns_is_that_of_the_model_with_its_background(kind):
    counts = (2 * measured()).to(torch.uint8)
    misfit = Misfit(kind, 0.01 + 0.7, background=0.7)
    net, scale = misfit.net(counts, 0.5, torch.float64)
    assert scale == 1.0 and misfit.floor == pytest.approx(0.01)
    expected = Misfit(kind, 0.01)(model() + 0.7, 0.5 * counts.double())
    for ours, theirs in zip(misfit(model(), net), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    untouched, same = Misfit(kind, 0.01).net(counts, 0.5, torch.float64)
    assert untouched is counts and same == 0.5


def test_amplitude_loss_is_equation_16():
    expected = ((np.sqrt(model().numpy() + 0.01) - np.sqrt(measured().numpy() + 0.01)) ** 2).sum()
    assert Misfit("amplitude", 0.01)(model(), measured())[0].item() == pytest.approx(expected, rel=1e-13)


def test_poisson_loss_is_the_negative_log_likelihood_less_its_smallest_value():
    """-log p(D | I) = I - D log I + log D!, with 0 log 0 = 0 at the optimum."""
    counts = measured().numpy()
    rates = np.maximum(model().numpy(), counts / LARGEST_RATIO)

    def negative_log_likelihood(rate):
        return (rate - counts * np.log(np.where(counts > 0, rate, 1)) + gammaln(counts + 1)).sum()

    expected = negative_log_likelihood(rates) - negative_log_likelihood(counts)
    assert Misfit("poisson", 1e-12)(torch.from_numpy(rates), measured())[0].item() == pytest.approx(
        expected, rel=1e-9
    )


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


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 40.0])
@pytest.mark.parametrize("kind", KINDS)
def test_curvature_is_the_second_derivative_by_the_amplitude_at_the_optimum(kind, epsilon):
    misfit, amplitude, step = Misfit(kind, epsilon), torch.full((1, 1, 1), 3.0).double(), 1e-3
    around = [misfit((amplitude + s * step) ** 2, amplitude**2)[0].item() for s in (-1, 0, 1)]
    assert (around[0] - 2 * around[1] + around[2]) / step**2 == pytest.approx(misfit.curvature(9.0), rel=1e-5)


DARK = LOSSES["poisson"].dark_electrons


def test_a_dark_pixel_of_the_model_cannot_throw_the_poisson_loss_off():
    """A Newton step of the amplitude ends at most a quarter beyond the measured one, wherever it begins."""
    amplitude = torch.logspace(-6, 3, 200, dtype=torch.float64)
    for electrons in (1.0, 30.0, 1e4, 1e8):
        counts = torch.full_like(amplitude, electrons)
        _, slope = Misfit("poisson", DARK)(amplitude[:, None, None] ** 2, counts[:, None, None])
        ends = amplitude - 2 * slope[:, 0, 0] * amplitude / 4
        assert (ends <= torch.maximum(1.25 * (counts + DARK).sqrt(), amplitude)).all()
        assert (ends >= -1e-9).all()


def test_the_poisson_loss_goes_on_along_its_tangent():
    ratios = LARGEST_RATIO * torch.tensor([1 - 1e-7, 1 + 1e-7], dtype=torch.float64)
    misfit, counts = Misfit("poisson", 0.0), torch.tensor([[[7.0]]]).double()
    (below, slope_below), (beyond, slope_beyond) = (misfit(counts / ratio, counts) for ratio in ratios)
    assert beyond.item() == pytest.approx(below.item(), rel=1e-6)
    assert slope_beyond.item() == pytest.approx(slope_below.item(), rel=1e-6)
    amplitudes = (counts / torch.tensor([5.0, 20.0, 1e6]).double()).sqrt().reshape(3, 1, 1, 1)
    pulls = [2 * misfit(a**2, counts)[1] * a for a in amplitudes]
    torch.testing.assert_close(torch.stack(pulls), pulls[0].expand(3, 1, 1, 1), msg="linear in the amplitude")


@pytest.mark.parametrize("rate", [1e-3, 0.02, 0.3, 2.0, 25.0])
def test_at_the_true_rate_the_expected_slope_of_the_poisson_loss_is_zero(rate):
    """Summed over the probabilities of all counts: no bias, at any dose."""
    counts = torch.arange(200, dtype=torch.float64)
    probability = torch.exp(counts * np.log(rate) - rate - torch.lgamma(counts + 1))
    _, slope = Misfit("poisson", DARK)(torch.full((200, 1, 1), rate).double(), counts[:, None, None])
    deviation = (probability * slope[:, 0, 0].square()).sum().sqrt()
    assert (probability * slope[:, 0, 0]).sum().abs() < 0.01 * deviation
