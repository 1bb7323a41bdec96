"""What vibrating atoms do to a wave: against the average over displacements; no electron is lost."""

import math

import numpy as np
import pytest
import torch
from scipy.special import j0

from dptt.physics.electron import POTENTIAL_PER_SCATTERING_FACTOR, interaction_constant
from dptt.simulation.scattering import gaussian_coefficients, scattering_factor
from dptt.simulation.vibration import diffuse_distribution, effective_potential

SIGMA = interaction_constant(300e3)
K = torch.arange(0.01, 12, 0.01, dtype=torch.float64)
RADII = np.array([0.0, 0.05, 0.1, 0.2, 0.4, 0.8])


def averaged(atomic_number: int, b_factor: float) -> np.ndarray:
    """Return <exp(i sigma v(r - u))> at `RADII`, by Gauss-Hermite quadrature over displacements u."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    u, weights = math.sqrt(b_factor / 8) / math.pi * nodes, weights / weights.sum()
    squared = (RADII[:, None, None] - u[:, None]) ** 2 + u**2
    v = sum(
        POTENTIAL_PER_SCATTERING_FACTOR * a * 4 * math.pi / b * np.exp(-4 * math.pi**2 * squared / b)
        for a, b in zip(*gaussian_coefficients(atomic_number), strict=True)
    )
    return np.einsum("rij,i,j->r", np.exp(1j * SIGMA * v), weights, weights)


@pytest.mark.parametrize("atomic_number", [28, 78])
def test_the_effective_potential_is_that_of_the_mean_wave_behind_the_atom(atomic_number):
    b_factor = 0.5
    spectrum = effective_potential(atomic_number, K, sigma=SIGMA, b_factor=b_factor) * torch.exp(-b_factor / 4 * K**2)
    potential = (2 * np.pi * 0.01 * j0(2 * np.pi * RADII[:, None] * K.numpy()) * K.numpy()) @ spectrum.numpy()
    np.testing.assert_allclose(np.exp(1j * SIGMA * potential), averaged(atomic_number, b_factor), atol=2e-3)
    assert np.abs(averaged(atomic_number, b_factor)).min() < 0.98, "it absorbs"


def test_an_atom_at_rest_is_a_real_potential():
    rest = effective_potential(78, K, sigma=SIGMA, b_factor=0.0)
    torch.testing.assert_close(rest.real, POTENTIAL_PER_SCATTERING_FACTOR * scattering_factor(78, K))
    assert rest.imag.abs().max() < 1e-8
    assert diffuse_distribution(78, K, sigma=SIGMA, b_factor=0.0).abs().max() < 1e-8


def test_all_that_is_absorbed_is_scattered_diffusely():
    """In weak scattering: sigma² f² (1 - exp(-B q²/2)) is lost, and scattered to q."""
    weak, b_factor = 1e-6, 0.4
    density = diffuse_distribution(28, K, sigma=weak, b_factor=b_factor)
    factor = POTENTIAL_PER_SCATTERING_FACTOR * scattering_factor(28, K)
    expected = factor**2 * -torch.expm1(-b_factor / 2 * K**2)
    # of D at 1 1/Å; what is tabulated every 0.1 1/Å is less exact near zero, where D is small
    torch.testing.assert_close(density / density[100], expected / expected[100], rtol=1e-3, atol=3e-3)
    assert (2 * math.pi * 0.01 * (density * K).sum()).item() == pytest.approx(1, abs=0.01)
    # Im U at zero frequency is its integral: half of what is lost, over sigma
    lost = weak**2 * (2 * math.pi * 0.01 * (expected * K).sum()).item()
    absorbed = effective_potential(28, torch.zeros(1).double(), sigma=weak, b_factor=b_factor).imag.item()
    assert 2 * weak * absorbed == pytest.approx(lost, rel=0.01)
