"""Atoms rendered into slices: against the simulation's potential, and the gradients against finite differences."""

import math

import numpy as np
import pytest
import torch
from checks import random_tensor, relative_error

from dptt.model.atom_slices import TiltedAtoms
from dptt.model.atoms import PARAMETERS, Atoms
from dptt.model.forward import Geometry
from dptt.simulation.potential import project_slices
from dptt.simulation.specimen import Specimen

GEOMETRY = Geometry(200e3, (5, 46, 51), (1.7, 0.3, 0.27), (20, 21), 5)
ANGLES, TRANSLATION = (3.0, 37.0, -5.0), (0.31, -0.44)


def some_atoms(count: int = 7, b_factor: float | None = None) -> Atoms:
    """Return atoms of three elements; the first lies before all slices, the second behind them."""
    positions = 3.0 * torch.tanh(random_tensor(count, 3, seed=1))
    positions[0], positions[1] = torch.tensor([-9.0, 0.3, 0.2]), torch.tensor([8.0, -0.4, 0.1])
    b_factors = 0.4 + 0.2 * torch.tanh(random_tensor(count, seed=2))
    return Atoms(
        positions,
        0.9 + 0.2 * torch.tanh(random_tensor(count, seed=3)),
        b_factors if b_factor is None else torch.full((count,), b_factor, dtype=torch.float64),
        torch.tensor([6, 28, 78] * count)[:count],
    )


def tilted(atoms: Atoms, angles=ANGLES, translation=TRANSLATION, geometry=GEOMETRY, vibrations=None) -> TiltedAtoms:
    pose = torch.tensor(angles, dtype=torch.float64), torch.tensor(translation, dtype=torch.float64)
    return TiltedAtoms(atoms, *pose, geometry, torch.float64, vibrations=vibrations)


VIBRATIONS = {6: 0.5, 28: 0.4, 78: 0.6}


def below_nyquist(images: torch.Tensor) -> torch.Tensor:
    spectrum = torch.fft.fft2(images)
    spectrum[..., spectrum.shape[-2] // 2, :] = 0  # the even one of the two sizes
    return torch.fft.ifft2(spectrum).real


def test_slices_add_up_to_the_projected_potential_of_the_simulation():
    atoms = some_atoms(b_factor=0.5)
    full = Atoms(atoms.positions, torch.ones(len(atoms), dtype=torch.float64), atoms.b_factors, atoms.atomic_numbers)
    displacements = np.full(len(atoms), math.sqrt(0.5 / 8) / math.pi)
    specimen = Specimen(atoms.positions.numpy(), atoms.atomic_numbers.numpy(), displacements)
    expected = project_slices(
        specimen.tilted(ANGLES, TRANSLATION),
        shape=(46, 51),
        sampling=GEOMETRY.sampling,
        num_slices=1,
        slice_thickness=1.0,
        entrance=0.0,
        dtype=torch.float64,
    )
    assert relative_error(tilted(full).slices().sum(0), below_nyquist(expected)[0]) < 1e-12


def test_the_mean_depth_of_the_shares_is_that_of_the_atom_wherever_it_lies():
    middles = (torch.arange(5) - 2) * 1.7
    for depth in (-1.3, -0.85, 0.0, 0.2, 0.85, 1.69):
        atom = Atoms(torch.tensor([[depth, 0.0, 0.0]]).double(), *torch.ones(2, 1).double(), torch.tensor([6]))
        totals = tilted(atom, (0, 0, 0), (0, 0)).slices().sum((1, 2))
        assert (totals @ middles.double() / totals.sum()).item() == pytest.approx(depth, abs=1e-6)


def test_an_atom_beyond_the_slices_is_whole_in_the_last():
    totals = tilted(some_atoms().chosen(torch.tensor([1])), (0, 0, 0), (0, 0)).slices().sum((1, 2))
    assert totals[-1] > 100
    assert totals[:-1].abs().max() < 1e-9


def test_a_half_occupied_atom_is_half_an_atom():
    atom = some_atoms().chosen(torch.tensor([3]))
    double = Atoms(atom.positions, 2 * atom.occupancies, atom.b_factors, atom.atomic_numbers)
    assert relative_error(tilted(double).slices(), 2 * tilted(atom).slices()) < 1e-12


@pytest.mark.parametrize("column", range(len(PARAMETERS)), ids=PARAMETERS)
def test_derivatives_by_every_parameter_agree_with_finite_differences(column):
    atoms, weights = some_atoms(), random_tensor(5, 46, 51, seed=5)
    gradient = tilted(atoms).gradient(weights).by_atom[:, column]

    def value(packed: torch.Tensor) -> float:
        return (tilted(atoms.with_parameters(packed)).slices() * weights).sum().item()

    step = 1e-4
    for atom in range(len(atoms)):
        change = torch.zeros(len(atoms), 5, dtype=torch.float64)
        change[atom, column] = step
        points = [value(atoms.packed() + factor * change) for factor in (-2, -1, 1, 2)]
        difference = (points[0] - 8 * points[1] + 8 * points[2] - points[3]) / (12 * step)
        assert gradient[atom].item() == pytest.approx(difference, rel=1e-6, abs=1e-7 * gradient.abs().max().item())


@pytest.mark.parametrize("column", range(len(PARAMETERS)), ids=PARAMETERS)
def test_derivatives_by_atoms_that_vibrate_agree_with_finite_differences(column):
    atoms, parts = some_atoms(), random_tensor(2, 5, 46, 51, seed=5)
    weights = torch.complex(parts[0], parts[1])

    def slices(packed: torch.Tensor) -> torch.Tensor:
        return tilted(atoms.with_parameters(packed), vibrations=VIBRATIONS).slices()

    direction = torch.zeros(len(atoms), 5, dtype=torch.float64)
    direction[:, column] = random_tensor(len(atoms), seed=8)
    step = 1e-3
    points = [slices(atoms.packed() + factor * step * direction) for factor in (-2, -1, 1, 2)]
    change = (points[0] - 8 * points[1] + 8 * points[2] - points[3]) / (12 * step)
    gradient = tilted(atoms, vibrations=VIBRATIONS).gradient(weights).by_atom
    expected = (change * weights.conj()).sum().real.item()
    assert (gradient * direction).sum().item() == pytest.approx(expected, rel=1e-6)
    imaginary = (change.imag * weights.imag).sum().item()
    assert abs(imaginary) > 1e-3 * abs(expected), "absorption counts"


def test_vibrating_atoms_absorb_and_are_otherwise_little_changed():
    smeared, vibrating = tilted(some_atoms()).slices(), tilted(some_atoms(), vibrations=VIBRATIONS).slices()
    assert 0 < relative_error(vibrating.real, smeared) < 0.05
    assert vibrating.imag.sum() > 0.02 * smeared.sum()
    at_rest = tilted(some_atoms(), vibrations=dict.fromkeys(VIBRATIONS, 0.0)).slices()
    assert relative_error(at_rest.real, smeared) < 1e-12
    assert at_rest.imag.abs().max() < 1e-9 * smeared.abs().max()


@pytest.mark.parametrize("number", range(5), ids=["phi", "theta", "psi", "tau_y", "tau_x"])
def test_derivatives_by_the_pose_agree_with_finite_differences(number):
    atoms, weights = some_atoms(), random_tensor(5, 46, 51, seed=6)
    gradient = tilted(atoms).gradient(weights).by_pose[number].item()
    step = 1e-3

    def value(factor: int) -> float:
        pose = [*ANGLES, *TRANSLATION]
        pose[number] += factor * step
        return (tilted(atoms, pose[:3], pose[3:]).slices() * weights).sum().item()

    difference = (value(-2) - 8 * value(-1) + 8 * value(1) - value(2)) / (12 * step)
    assert gradient == pytest.approx(difference, rel=1e-6)


def test_the_rotation_moves_an_atom_as_the_specimen_s_does():
    atoms = some_atoms()
    specimen = Specimen(atoms.positions.numpy(), atoms.atomic_numbers.numpy(), np.zeros(len(atoms)))
    moved = specimen.tilted(ANGLES, TRANSLATION).positions
    np.testing.assert_allclose(tilted(atoms).positions.numpy(), moved, atol=1e-12)
