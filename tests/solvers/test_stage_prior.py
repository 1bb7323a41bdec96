"""Steps and errors of pose parameters under a prior; loss units; which refinement is kept."""

import numpy as np
import pytest
import torch
from checks import random_tensor

from dptt.model.losses import Misfit
from dptt.solvers.stage_prior import (
    exceeds_errors,
    information_per_loss,
    lowers,
    posterior_errors,
    posterior_step,
    prior_precision,
)


def information(seed=0, size=5):
    root = random_tensor(size, size, seed=seed)
    return root @ root.T + 0.1 * torch.eye(size, dtype=torch.float64)


def test_the_step_leads_to_the_maximum_of_the_posterior():
    """For a quadratic likelihood about x_data: (I + P) x = I x_data + P x_nominal, by NumPy."""
    matrix, x, nominal, by_data = information(), *(random_tensor(5, seed=seed) for seed in (1, 2, 3))
    precision = torch.tensor(prior_precision((0.1, 0.5, 2.0), 5), dtype=torch.float64)
    moved = x + posterior_step(by_data - x, matrix, x - nominal, precision)
    prior = np.diag(precision.numpy())
    expected = np.linalg.solve(matrix.numpy() + prior, matrix.numpy() @ by_data.numpy() + prior @ nominal.numpy())
    np.testing.assert_allclose(moved, expected, rtol=1e-6)


def test_without_a_prior_the_step_is_that_of_the_data():
    step = random_tensor(5, seed=4)
    none = torch.zeros(5, dtype=torch.float64)
    assert torch.equal(posterior_step(step, information(), random_tensor(5, seed=5), none), step)


def test_data_without_information_lead_back_to_the_nominal_value():
    deviation, precision = torch.tensor([0.4, -0.2]).double(), torch.tensor([25.0, 4.0]).double()
    step = posterior_step(torch.zeros(2).double(), torch.zeros(2, 2).double(), deviation, precision)
    torch.testing.assert_close(step, -deviation, rtol=1e-8, atol=0)


@pytest.mark.parametrize("library", ["torch", "numpy"])
def test_errors_are_those_of_the_inverse_matrix(library):
    matrix, precision = information(seed=7), torch.tensor(prior_precision((0.1, 0.5, 2.0), 5), dtype=torch.float64)
    expected = np.sqrt(np.diag(np.linalg.inv(matrix.numpy() + np.diag(precision.numpy()))))
    arguments = (matrix, precision) if library == "torch" else (matrix.numpy(), precision.numpy())
    np.testing.assert_allclose(posterior_errors(*arguments), expected, rtol=1e-6)


def test_what_nothing_determines_has_an_infinite_error():
    matrix = torch.diag(torch.tensor([4.0, 0.0, 0.0]).double())
    errors = posterior_errors(matrix, torch.tensor([0.0, 100.0, 0.0]).double())
    np.testing.assert_allclose(errors, [0.5, 0.1, np.inf], rtol=1e-6)


@pytest.mark.parametrize("kind", ["amplitude", "poisson"])
def test_a_loss_in_these_units_has_the_curvature_of_the_counts(kind):
    """The scatter of x over Poisson draws of I(x) = I (1 + x s)², found by one Newton step, is 1/sqrt(curvature)."""
    generator = torch.Generator().manual_seed(3)
    mean = 200 * torch.rand(1, 20, 20, generator=generator, dtype=torch.float64) + 50
    pattern = torch.randn(1, 20, 20, generator=generator, dtype=torch.float64)
    loss = Misfit(kind, 1e-9)

    def slope_and_curvature(measured, x=0.0, h=1e-3):
        low, here, high = (loss(mean * (1 + (x + d) * pattern) ** 2, measured)[0].item() for d in (-h, 0, h))
        return (high - low) / (2 * h), (high - 2 * here + low) / h**2

    best = []
    for _ in range(400):
        slope, curvature = slope_and_curvature(torch.poisson(mean, generator))
        best.append(-slope / curvature)
    in_electrons = information_per_loss(loss.curvature(mean.max().item())) * slope_and_curvature(mean)[1]
    assert np.std(best) * np.sqrt(in_electrons) == pytest.approx(1, abs=0.12)


def test_deviations_as_large_as_their_errors_are_not_kept_and_larger_ones_are():
    random = np.random.default_rng(5)
    errors = random.uniform(0.05, 0.2, 12)
    kept = [exceeds_errors(errors * random.normal(size=12), errors) for _ in range(400)]
    assert np.mean(kept) < 0.02
    found = [exceeds_errors(errors * random.normal(size=12) * np.hypot(1, 3), errors) for _ in range(400)]
    assert np.mean(found) > 0.95
    assert not exceeds_errors(np.ones(3), np.full(3, np.inf))


def test_a_misfit_is_lower_only_beyond_its_sampling_error_and_the_least_gain():
    random = np.random.default_rng(6)
    base, noise = random.uniform(1, 2, (3, 6)), 0.01 * random.normal(size=(3, 6))
    base[2, 4:] = np.nan  # a tilt with fewer held-out data
    only_one = np.array([[0.05], [0.0], [0.0]])
    assert lowers(base, base - 0.05 + noise, least=1e-3)
    assert lowers(base, base - only_one + noise, least=1e-3)  # the tilts differ; that is no error
    assert not lowers(base, base + noise - np.nanmean(noise) - 0.003, least=1e-4)  # within its error
    assert not lowers(base, base - 1e-4, least=1e-3)  # certain, but too small
    assert not lowers(base, base + 0.05, least=0.0)
    assert not lowers(base[:, :1], base[:, :1] - 0.05, least=0.0)  # single blocks: no scatter, no certainty


def test_a_refinement_that_does_nothing_is_seldom_kept():
    random = np.random.default_rng(7)
    base = np.ones((11, 4))
    assert np.mean([lowers(base, base + random.normal(size=base.shape), least=0.0) for _ in range(1000)]) < 0.01
