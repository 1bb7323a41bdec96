"""The Cartesian aberrations are the polar ones of the probe, and their gradient shifts the virtual images."""

import torch

from dptt.physics.aberrations import aberration_phase, cartesian_phase, shift_basis, to_cartesian, to_polar
from dptt.physics.grid import spatial_frequencies

ABERRATIONS = {"C10": -130.0, "C12": 40.0, "phi12": 25.0, "C21": 3e3, "phi21": -70.0}
ABERRATIONS |= {"C23": 2e3, "phi23": 40.0, "C30": 8e5}
WAVELENGTH = 0.0197


def test_the_phase_is_that_of_the_probe():
    ky, kx = spatial_frequencies((9, 12), (0.4, 0.5))
    angles = WAVELENGTH * torch.stack(torch.broadcast_tensors(ky, kx), -1)
    ours = cartesian_phase(angles, WAVELENGTH, to_cartesian(ABERRATIONS, 3))
    torch.testing.assert_close(ours, aberration_phase(ky, kx, WAVELENGTH, ABERRATIONS))


def test_polar_to_cartesian_and_back_changes_nothing():
    back = to_polar(to_cartesian(ABERRATIONS, 3))
    for name, value in ABERRATIONS.items():
        assert abs(back[name] - value) <= 1e-9 * abs(value)


def test_the_shift_is_the_gradient_of_the_phase():
    angles = 0.02 * torch.randn(7, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    angles.requires_grad_()
    for order in (1, 2, 3):
        coefficients = to_cartesian(ABERRATIONS, order)
        phase = cartesian_phase(angles, WAVELENGTH, coefficients).sum()
        (gradient,) = torch.autograd.grad(phase, angles)
        shift = shift_basis(angles.detach(), order) @ coefficients
        torch.testing.assert_close(shift, WAVELENGTH * gradient / (2 * torch.pi))
