import math

import numpy as np
import pytest
import torch
from checks import random_tensor, relative_error

from dptt.physics.electron import wavelength
from dptt.physics.probe import make_probe, resample_probe, shift_probe

DOUBLE = torch.complex128
ABERRATIONS = {"C10": -80.0, "C12": 20.0, "phi12": 15.0, "C21": 500.0, "phi21": 40.0}


def shifted(probe, dy, dx):
    return shift_probe(probe, torch.tensor(dy, dtype=torch.float64), torch.tensor(dx, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(8, 11), (9, 6)])
def test_whole_pixel_shifts_roll_the_probe(shape):
    probe = random_tensor(2, *shape, seed=1, dtype=DOUBLE)
    for dy, dx in ((3, -2), (-4, 5)):
        rolled = np.roll(probe.numpy(), (dy, dx), axis=(-2, -1))
        np.testing.assert_allclose(shifted(probe, dy, dx).numpy(), rolled, rtol=0, atol=1e-13)


def test_shifts_add_up():
    probe = random_tensor(2, 9, 8, seed=2, dtype=DOUBLE)
    twice = shifted(shifted(probe, 0.3, -1.4), 1.1, 0.25)
    torch.testing.assert_close(twice, shifted(probe, 1.4, -1.15), rtol=0, atol=1e-13)


def test_sub_pixel_shift_moves_the_centre_of_mass_by_as_much():
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) - n // 2 for n in (41, 36)), indexing="ij")
    probe = torch.exp(-(y**2 / 25 + x**2 / 20) + 0.3j * x)
    intensity = shifted(probe, 0.37, -0.22).abs().square()
    for coordinate, expected in ((y, 0.37), (x, -0.22)):
        assert ((intensity * coordinate).sum() / intensity.sum()).item() == pytest.approx(expected, abs=1e-6)


def test_every_position_gets_its_own_shift_of_every_mode():
    probe = random_tensor(2, 6, 9, seed=3, dtype=DOUBLE)
    dy, dx = torch.tensor([0.1, -0.4, 0.5]).double(), torch.tensor([0.3, 0.2, -0.1]).double()
    together = shift_probe(probe, dy[:, None], dx[:, None])
    one_by_one = torch.stack([shifted(probe, y, x) for y, x in zip(dy.tolist(), dx.tolist(), strict=True)])
    torch.testing.assert_close(together, one_by_one)


def probe_on(shape, field_of_view=(12.0, 13.5)):
    sampling = (field_of_view[0] / shape[0], field_of_view[1] / shape[1])
    return make_probe(
        shape, sampling, wavelength=wavelength(300e3), semiangle=18.0, aberrations=ABERRATIONS, electrons=77.0
    )


@pytest.mark.parametrize("wanted", [(60, 81), (31, 28), (30, 80), (61, 27), (40, 45)])
def test_resampled_probe_is_the_probe_made_on_the_new_grid(wanted):
    """Padded, cropped, and one of each, with even and odd sizes: the same electrons, the same field."""
    resampled = resample_probe(probe_on((40, 45))[None], wanted)[0]
    assert relative_error(resampled, probe_on(wanted)) < 1e-12


def test_a_refined_probe_keeps_its_values_on_the_old_pixels():
    """Twice as many pixels share the same electrons: amplitudes fall by sqrt(2) per axis."""
    probe = torch.stack([probe_on((40, 45)), 1j * probe_on((40, 45))])
    refined = resample_probe(probe, (80, 135))
    torch.testing.assert_close(refined[:, ::2, 1::3], probe / math.sqrt(6), rtol=0, atol=1e-12)
