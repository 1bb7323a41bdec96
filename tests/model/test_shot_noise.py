"""The loss that shot noise alone causes, summed over the Poisson law and compared with drawn counts."""

import math

import pytest
import torch
from checks import random_tensor
from scipy import stats

from dptt.model.losses import Misfit
from dptt.model.shot_noise import Fit, FitLoss, shot_noise_moments
from dptt.physics.probe import detector_shift


@pytest.mark.parametrize("kind", ["amplitude", "poisson"])
@pytest.mark.parametrize("mean", [1e-5, 0.02, 0.3, 1.0, 7.7, 90.0, 350.0, 3e3])
def test_mean_and_variance_are_those_of_the_poisson_law(kind, mean):
    misfit = Misfit(kind, 1e-6)
    counts = torch.arange(math.ceil(mean + 15 * math.sqrt(mean) + 20), dtype=torch.float64)
    probability = torch.from_numpy(stats.poisson.pmf(counts.numpy(), mean))
    loss = torch.stack([misfit(torch.tensor([[[mean]]]).double(), n.reshape(1, 1, 1))[0] for n in counts])
    first, second = (probability * loss).sum().item(), (probability * loss**2).sum().item()
    model = torch.full((1, 1, 1), mean, dtype=torch.float64)
    found = shot_noise_moments(misfit, model).flatten().tolist()
    assert found[0] == pytest.approx(first, rel=2e-3)
    assert found[1] == pytest.approx(second - first**2, rel=1e-2)


def test_an_intensity_floor_above_the_counts_leaves_little_loss():
    model = torch.full((1, 1, 1), 3e3, dtype=torch.float64)
    with_floor, without = (shot_noise_moments(Misfit("amplitude", e), model)[0].item() for e in (6e3, 1e-6))
    assert with_floor == pytest.approx(without / 3, rel=1e-3)


def test_the_mean_pattern_would_overestimate_the_noise_of_patterns_that_differ():
    """Why the model's own intensities are used."""
    bright, dark = torch.full((1, 1, 1), 2.0), torch.zeros(1, 1, 1)
    misfit = Misfit("amplitude", 1e-6)
    patterns = torch.cat([bright, *[dark] * 9])
    exact = shot_noise_moments(misfit, patterns)[0].sum().item()
    by_mean = 10 * shot_noise_moments(misfit, patterns.mean(0, keepdim=True))[0].sum().item()
    assert by_mean > 2 * exact


def drawn(kind: str, dose: float, mask: torch.Tensor | None = None) -> Fit:
    """Return the fit of counts of a known model."""
    generator = torch.Generator().manual_seed(4)
    probe = random_tensor(1, 16, 14, seed=1, dtype=torch.complex128)
    model = dose * random_tensor(40, 16, 14, seed=2).square()
    measured = torch.poisson(model, generator)
    if mask is not None:
        measured[:, ~mask] = math.nan
    loss = FitLoss(Misfit(kind, 1e-6, mask), probe)
    assert loss(model, measured)[0].item() == pytest.approx(loss.sums[0].item())
    return Fit(*loss.sums.tolist())


@pytest.mark.parametrize("kind", ["amplitude", "poisson"])
@pytest.mark.parametrize("dose", [0.01, 0.3, 30.0])
def test_counts_of_the_model_itself_have_a_figure_of_one(kind, dose):
    fit = drawn(kind, dose)
    assert abs(fit.figure - 1) < 4 * fit.uncertainty
    assert 0.002 < fit.uncertainty < 0.2


def test_counts_with_background_have_a_figure_of_one_too():
    generator, background = torch.Generator().manual_seed(4), 0.4
    model = random_tensor(40, 16, 14, seed=2).square()
    measured = torch.poisson(model + background, generator) - background
    loss = FitLoss(Misfit("amplitude", 1e-6 + background, None, background), random_tensor(1, 16, 14, seed=1) + 0j)
    loss(model, measured)
    fit = Fit(*loss.sums.tolist())
    assert abs(fit.figure - 1) < 4 * fit.uncertainty


def test_masked_pixels_count_neither_in_the_loss_nor_in_the_noise():
    mask = torch.ones(16, 14, dtype=torch.bool)
    mask[3:9] = False
    fit, whole = drawn("amplitude", 3.0, mask), drawn("amplitude", 3.0)
    assert abs(fit.figure - 1) < 4 * fit.uncertainty
    assert fit.expected == pytest.approx(whole.expected * mask.double().mean().item(), rel=0.05)
    assert fit.electrons < 0.8 * whole.electrons


def test_vacuum_scatters_nothing_and_another_probe_is_all_unexplained():
    probe = random_tensor(2, 16, 14, seed=1, dtype=torch.complex128)
    vacuum = torch.fft.fft2(probe, norm="ortho").abs().square().sum(0)[None]
    loss = FitLoss(Misfit("amplitude", 1e-6), probe)
    measured = torch.poisson(100 * vacuum.expand(50, -1, -1), torch.Generator().manual_seed(0)) / 100
    loss(vacuum.expand(50, -1, -1), measured)
    assert abs(Fit(*loss.sums.tolist()).scattering) < loss.sums[1].item()
    loss = FitLoss(Misfit("amplitude", 1e-6), probe)
    model = vacuum.flip(1).expand(50, -1, -1)
    loss(vacuum.expand(50, -1, -1), torch.poisson(100 * model) / 100)
    assert Fit(*loss.sums.tolist()).unexplained == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize(("loss", "unexplained"), [(120.0, 0.04), (90.0, -0.02), (89.9, math.nan)])
def test_a_loss_far_below_that_of_shot_noise_leaves_no_share_of_the_scattering(loss, unexplained):
    fit = Fit(loss=loss, expected=100.0, variance=4.0, scattering=500.0, electrons=1e4)
    assert fit.unexplained == pytest.approx(unexplained, nan_ok=True)


def test_no_patterns_have_no_figure():
    assert all(math.isnan(v) for v in (Fit(*[0.0] * 5).figure, Fit(*[0.0] * 5).uncertainty))


def test_vacuum_behind_a_descan_scatters_nothing_in_whatever_chunks():
    probe = 10 * random_tensor(2, 16, 14, seed=1, dtype=torch.complex128)
    shifts = torch.linspace(-2, 2, 60).double().reshape(30, 2)
    ramp = detector_shift((16, 14), shifts[:, 0], shifts[:, 1])[:, None]
    vacuum = torch.fft.fft2(probe * ramp, norm="ortho").abs().square().sum(1)
    measured = torch.poisson(vacuum, torch.Generator().manual_seed(0))
    sums = []
    for sizes in ([30], [7, 16, 7]):
        loss = FitLoss(Misfit("amplitude", 1e-6), probe, shifts)
        for model, counts in zip(vacuum.split(sizes), measured.split(sizes), strict=True):
            loss(model, counts)
        sums.append(loss.sums)
    torch.testing.assert_close(*sums)
    right = Fit(*sums[0].tolist())
    assert abs(right.scattering) < 4 * math.sqrt(right.variance)
    still = FitLoss(Misfit("amplitude", 1e-6), probe)
    still(vacuum, measured)
    assert Fit(*still.sums.tolist()).scattering > 10 * right.expected, "without the descan, vacuum seems to scatter"
