"""Modes of partially coherent probes against the points of a source and the planes of a focus that they stand for."""

import math

import numpy as np
import pytest
import torch
from checks import random_tensor

from dptt.model.coherence import FEW, MANY, Coherence, aperture_radius, coherent_probe
from dptt.physics.electron import wavelength
from dptt.physics.grid import spatial_frequencies
from dptt.physics.probe import make_probe

WINDOW, SAMPLING = (40, 38), (0.35, 0.4)
LAMBDA = wavelength(300e3)
RADIUS = 21e-3 / LAMBDA


def probe():
    return make_probe(WINDOW, SAMPLING, wavelength=LAMBDA, semiangle=21.0, aberrations={"C10": -60.0})[None]


def averaged(size, spread):
    """Return the mean intensity of shifted and defocused probes, by quadrature."""
    points, weights = np.polynomial.hermite_e.hermegauss(9)
    ky, kx = spatial_frequencies(WINDOW, SAMPLING, dtype=torch.float64)
    total, spectrum = torch.zeros(WINDOW).double(), torch.fft.fft2(probe()[0])
    for y, wy in zip(points, weights, strict=True):
        for x, wx in zip(points, weights, strict=True):
            for z, wz in zip(points, weights, strict=True):
                phase = 2 * math.pi * size * (y * ky + x * kx) + math.pi * LAMBDA * spread * z * (ky**2 + kx**2)
                moved = torch.fft.ifft2(spectrum * torch.polar(torch.ones(WINDOW).double(), phase))
                total += wy * wx * wz / weights.sum() ** 3 * moved.abs().square()
    return total


@pytest.mark.parametrize(("size", "spread"), [(0.1, 0.0), (0.0, 25.0), (0.15, 15.0)])
def test_modes_have_the_intensity_of_all_shifted_and_defocused_probes_together(size, spread):
    sharp, wanted = probe()[0].abs().square(), averaged(size, spread)
    blurred = Coherence(size, spread, LAMBDA, RADIUS).modes(probe(), SAMPLING).abs().square().sum(0)
    assert (blurred - wanted).abs().sum() < 0.12 * (sharp - wanted).abs().sum()
    assert blurred.sum().item() == pytest.approx(wanted.sum().item(), rel=1e-9)


def test_every_angle_keeps_its_electrons():
    whole = random_tensor(1, *WINDOW, dtype=torch.complex128)  # beyond the aperture too
    modes = Coherence(0.2, 20.0, LAMBDA, RADIUS).modes(whole, SAMPLING)
    assert len(modes) > 1
    torch.testing.assert_close(torch.fft.fft2(modes).abs().square().sum(0), torch.fft.fft2(whole)[0].abs().square())


def test_values_beyond_those_that_the_modes_belong_to_are_nearly_the_same():
    """A step of a descent may move them without changing the modes' eigenvectors."""
    moved = Coherence(0.12, 10.0, LAMBDA, RADIUS).moved(0.14, 14.0)
    assert moved.moved(0.16, 16.0).near == (0.12, 10.0)
    assert moved.recentred(MANY) == Coherence(0.14, 14.0, LAMBDA, RADIUS, MANY)
    sharp, wanted = probe()[0].abs().square(), averaged(0.14, 14.0)
    for each in (moved, moved.recentred(FEW)):
        blurred = each.modes(probe(), SAMPLING).abs().square().sum(0)
        assert (blurred - wanted).abs().sum() < 0.2 * (sharp - wanted).abs().sum()


def test_derivatives_by_probe_and_values_are_exact():
    here, modes_of = Coherence(0.12, 12.0, LAMBDA, RADIUS).moved(0.15, 9.0), probe() * (1 + 0.2j)
    gradient = random_tensor(*here.modes(modes_of, SAMPLING).shape, seed=4, dtype=torch.complex128)
    direction = random_tensor(1, *WINDOW, seed=5, dtype=torch.complex128)

    def value(size=0.15, spread=9.0, step=0.0):
        modes = here.moved(size, spread).modes(modes_of + step * direction, SAMPLING)
        return (gradient.conj() * modes).sum().real.item()

    by_probe, (by_size, by_spread) = here.pulled_back(modes_of, gradient, SAMPLING)
    assert value(step=1.0) - value() == pytest.approx((by_probe.conj() * direction).sum().real.item(), rel=1e-9)
    assert (value(size=0.1501) - value(size=0.1499)) / 2e-4 == pytest.approx(by_size.item(), rel=1e-5)
    assert (value(spread=9.01) - value(spread=8.99)) / 2e-2 == pytest.approx(by_spread.item(), rel=1e-5)


def test_the_coherent_probe_of_modes_is_the_one_they_were_made_of():
    modes = Coherence(0.08, 5.0, LAMBDA, RADIUS).modes(probe(), SAMPLING)
    mixed = torch.stack([modes[0] * 1j, *modes[1:].flip(0)])
    found = coherent_probe(mixed)  # up to a phase
    overlap = torch.vdot(found.flatten(), probe().flatten()).abs() / (found.norm() * probe().norm())
    assert overlap.item() == pytest.approx(1.0, abs=1e-3)


def test_the_aperture_is_what_is_bright():
    pixel = 1 / (WINDOW[0] * SAMPLING[0])
    assert aperture_radius(probe(), SAMPLING) == pytest.approx(RADIUS, abs=pixel)
