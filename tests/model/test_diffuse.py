"""The diffuse scattering of a tilt: against a sum over pixels, and how it is spread over the detector."""

import pytest
import torch
from checks import relative_error

from dptt.model.atom_slices import TiltedAtoms
from dptt.model.atoms import Atoms
from dptt.model.diffuse import diffuse_scattering
from dptt.model.forward import Geometry
from dptt.physics.multislice import propagate
from dptt.physics.patches import extract_patches, split_positions
from dptt.physics.probe import make_probe, shift_probe
from dptt.simulation.vibration import diffuse_distribution

GEOMETRY = Geometry(200e3, (3, 50, 47), (2.0, 0.2, 0.23), (24, 21), 3)
ANGLES, TRANSLATION = torch.tensor([2.0, 30.0, -4.0]).double(), torch.tensor([0.2, -0.3]).double()
POSITIONS = torch.tensor([[0.0, 0.0], [0.51, -0.37], [-1.3, 0.8], [0.9, 1.2]]).double()
B_FACTORS = {28: 0.4, 78: 0.7}


@pytest.fixture(scope="module")
def atoms() -> Atoms:
    positions = torch.tensor([[0.5, -0.6, 0.3], [-1.1, 0.4, 0.2], [1.4, 0.9, -0.8]]).double()
    return Atoms(
        positions, torch.tensor([1.0, 0.8, 1.1]).double(), torch.full((3,), 0.5).double(), torch.tensor([28, 78, 78])
    )


@pytest.fixture(scope="module")
def probe() -> torch.Tensor:
    return make_probe(
        GEOMETRY.window_shape,
        GEOMETRY.sampling,
        wavelength=GEOMETRY.wavelength,
        semiangle=22.0,
        aberrations={"C10": -60.0},
        electrons=1e4,
    )[None]


@pytest.fixture(scope="module")
def scattered(atoms, probe):
    return diffuse_scattering(atoms, probe, POSITIONS, ANGLES, TRANSLATION, GEOMETRY, B_FACTORS)


def test_every_position_loses_what_the_atoms_under_the_probe_absorb(scattered, atoms, probe):
    corners, shifts = split_positions(POSITIONS, GEOMETRY.sampling, GEOMETRY.volume_shape[1:], GEOMETRY.window_shape)
    for column, number in enumerate((28, 78)):
        of_element = atoms.chosen(atoms.atomic_numbers == number)
        slices = TiltedAtoms(of_element, ANGLES, TRANSLATION, GEOMETRY, torch.float64, vibrations=B_FACTORS).slices()
        assert slices.imag.max() > 0
        absorbed = extract_patches(1 - torch.exp(-2 * GEOMETRY.sigma * slices.imag), corners, GEOMETRY.window_shape)
        waves, expected = shift_probe(probe, shifts[:, None, 0], shifts[:, None, 1]), torch.zeros(4).double()
        for plane in range(3):
            expected += (waves.abs().square()[:, 0] * absorbed[:, plane]).sum((1, 2))
            waves = propagate(waves, GEOMETRY.propagator(2.0, torch.complex128))
        # between pixels an intensity is interpolated up to its Nyquist frequency only
        assert relative_error(scattered.electrons[:, column].double(), expected) < 0.01
        assert expected.max() > 2 * expected.min() > 0


def test_a_plane_wave_is_spread_as_the_atom_scatters(atoms):
    plane = torch.full((1, *GEOMETRY.window_shape), 1.0, dtype=torch.complex128)
    scattered = diffuse_scattering(atoms, plane, POSITIONS, ANGLES, TRANSLATION, GEOMETRY, B_FACTORS)
    sides = [n * d for n, d in zip(GEOMETRY.window_shape, GEOMETRY.sampling, strict=True)]
    ky, kx = (torch.fft.fftfreq(n, d).double() for n, d in zip(GEOMETRY.window_shape, GEOMETRY.sampling, strict=True))
    density = diffuse_distribution(78, torch.hypot(ky[:, None], kx), sigma=GEOMETRY.sigma, b_factor=B_FACTORS[78]) / (
        sides[0] * sides[1]
    )
    assert relative_error(scattered.distributions[1].double(), density) < 1e-5


def test_patterns_are_the_electrons_of_all_elements_over_the_pixels(scattered):
    patterns = scattered.patterns(torch.tensor([2, 0]))
    expected = (
        scattered.electrons[2, 0] * scattered.distributions[0]
        + scattered.electrons[2, 1] * scattered.distributions[1]
    )
    torch.testing.assert_close(patterns[0], expected)
    assert 0.5 < scattered.distributions[1].sum() < 1, "some leave the window"
    assert patterns.min() > 0
