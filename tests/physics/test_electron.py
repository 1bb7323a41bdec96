"""Published values of Kirkland, Advanced Computing in Electron Microscopy; they predate CODATA 2022 by 1e-6 or so."""

import math

import pytest

from dptt.physics.electron import interaction_constant, wavelength


@pytest.mark.parametrize("energy,published", [(100e3, 0.0370144), (200e3, 0.0250793), (300e3, 0.0196875)])
def test_wavelength_is_the_published_one(energy, published):
    assert wavelength(energy) == pytest.approx(published, abs=6e-8)


@pytest.mark.parametrize("energy,published", [(100e3, 9.2440e-4), (200e3, 7.2884e-4), (300e3, 6.5262e-4)])
def test_interaction_constant_is_the_published_one(energy, published):
    assert interaction_constant(energy) == pytest.approx(published, abs=1e-8)


def test_slow_electrons_follow_de_broglie():
    """150.412 V Å²: h²/(2 m0 e)."""
    assert wavelength(1.0) == pytest.approx(math.sqrt(150.412), rel=3e-6)


@pytest.mark.parametrize("energy", [0.0, -300e3, math.nan])
def test_an_energy_that_is_not_positive_is_refused(energy):
    with pytest.raises(ValueError, match="energy must be a positive number of eV"):
        wavelength(energy)
