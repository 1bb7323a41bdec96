import pytest
import torch
from checks import random_tensor, relative_error

from dptt.physics.electron import wavelength
from dptt.physics.multislice import diffraction_intensity
from dptt.physics.probe import hermite_modes, make_probe, orthogonalise_modes

SHAPE, SAMPLING = (40, 33), (0.3, 0.4)


@pytest.fixture
def probe():
    aberrations = {"C10": -60.0, "C21": 700.0, "phi21": 30.0}
    return make_probe(
        SHAPE, SAMPLING, wavelength=wavelength(200e3), semiangle=20.0, aberrations=aberrations, electrons=500.0
    )


def gram(modes):
    flat = modes.flatten(1)
    return flat.conj() @ flat.T


def density(modes):
    flat = modes.flatten(1)
    return flat.T @ flat.conj()


@pytest.mark.parametrize("num_modes", [2, 3, 6])
def test_hermite_modes_are_orthogonal_and_share_the_electrons_as_stated(probe, num_modes):
    modes = hermite_modes(probe, num_modes, power_of_first=0.7)
    powers = torch.full((num_modes,), 500.0 * 0.3 / (num_modes - 1), dtype=torch.complex128)
    powers[0] = 500.0 * 0.7
    torch.testing.assert_close(gram(modes), torch.diag(powers), rtol=1e-12, atol=1e-9)


def test_first_hermite_mode_is_the_probe_itself(probe):
    torch.testing.assert_close(hermite_modes(probe, 1), probe[None])
    torch.testing.assert_close(hermite_modes(probe, 3, power_of_first=0.64)[0], 0.8 * probe)


def test_second_and_third_hermite_modes_are_odd_in_one_coordinate():
    y, x = torch.meshgrid(*(torch.arange(n) - n // 2 for n in (31, 41)), indexing="ij")
    gaussian = torch.exp(-(y**2 / 20 + x**2 / 30)).to(torch.complex128)
    modes = hermite_modes(gaussian, 3)
    for mode, coordinate in zip(modes[1:], (x, y), strict=True):
        expected = gaussian * coordinate
        overlap = torch.vdot(mode.flatten(), expected.flatten()).abs()
        assert overlap / torch.linalg.vector_norm(mode) / torch.linalg.vector_norm(expected) == pytest.approx(1)


def test_orthogonalised_modes_are_orthogonal_and_ordered_by_power():
    products = gram(orthogonalise_modes(random_tensor(4, *SHAPE, seed=1, dtype=torch.complex128)))
    powers = products.diagonal().real
    torch.testing.assert_close(products, torch.diag(powers).to(products.dtype), rtol=0, atol=1e-10)
    assert (powers.diff() < 0).all()


def test_orthogonalising_keeps_the_density_matrix_and_with_it_every_intensity():
    modes = random_tensor(3, 6, 5, seed=2, dtype=torch.complex128)
    torch.testing.assert_close(density(orthogonalise_modes(modes)), density(modes), rtol=0, atol=1e-12)
    specimen = random_tensor(6, 5, seed=3, dtype=torch.complex128)
    before, after = (diffraction_intensity(specimen * m) for m in (modes, orthogonalise_modes(modes)))
    assert relative_error(after, before) < 1e-13
