import h5py
import numpy as np
import pytest
from gaussian_particles import gaussian_atoms, keep_measured_frequencies, random_packing

from dptt.analysis.atom_matching import match_atoms
from dptt.analysis.atoms import automatic_threshold, trace_atoms

GRIDS = [((71, 75, 80), (0.4, 0.4, 0.4)), ((95, 99, 104), (0.3, 0.3, 0.3)), ((60, 75, 104), (0.48, 0.4, 0.3))]


def particle(shape, voxel_size, elements, seed=1, num_atoms=150):
    rng = np.random.default_rng(seed)
    positions = random_packing(num_atoms, 11.0, 2.5, rng)
    heights = rng.choice(elements, num_atoms) * rng.normal(1, 0.03, num_atoms)
    return positions, heights, gaussian_atoms(shape, voxel_size, positions, heights)


@pytest.mark.parametrize(("shape", "voxel_size"), GRIDS)
@pytest.mark.parametrize("elements", [(10.0,), (10.0, 30.0), (10.0, 20.0, 30.0)], ids=len)
def test_every_atom_of_a_clean_particle_is_found_exactly_and_nothing_else(shape, voxel_size, elements):
    positions, heights, volume = particle(shape, voxel_size, elements)
    atoms = trace_atoms(volume, voxel_size)
    match = match_atoms(atoms.positions, positions, max_distance=0.8)
    assert match.recall == 1 and match.precision == 1
    assert match.rmsd < 1e-3
    found, true = match.pairs.T
    assert np.allclose(atoms.heights[found], heights[true], rtol=1e-3)
    assert np.allclose(atoms.widths, 0.5, rtol=1e-3)
    assert np.allclose(atoms.integrated_potential[found], heights[true] * (2 * np.pi) ** 1.5 * 0.125, rtol=3e-3)


@pytest.mark.parametrize(("shape", "voxel_size"), GRIDS)
def test_standard_errors_describe_the_errors_that_noise_makes(shape, voxel_size):
    positions, _, volume = particle(shape, voxel_size, (10.0, 20.0, 30.0))
    noisy = volume + np.random.default_rng(2).normal(size=shape)
    atoms = trace_atoms(noisy, voxel_size)
    match = match_atoms(atoms.positions, positions, max_distance=0.8)
    assert match.recall == 1 and match.precision == 1
    assert match.rmsd < 0.035
    found, true = match.pairs.T
    deviation = (atoms.positions[found] - positions[true]) / atoms.standard_errors[found]
    assert deviation.std() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_atoms_are_found_despite_a_missing_wedge(noise):
    shape, voxel_size = GRIDS[1]
    positions, _, volume = particle(shape, voxel_size, (10.0, 20.0, 30.0))
    volume = keep_measured_frequencies(volume, voxel_size, np.arange(-60, 61, 2.0))
    volume += noise * np.random.default_rng(3).normal(size=shape)
    match = match_atoms(trace_atoms(volume, voxel_size).positions, positions, max_distance=0.8)
    assert match.recall >= 0.99 and match.precision >= 0.99
    assert match.rmsd < 0.15
    assert match.rmsd_axes[0] > match.rmsd_axes[2]  # the beam direction is the blurred one


def test_atoms_on_the_border_are_found_where_they_are():
    voxel_size, shape = (0.4, 0.4, 0.4), (31, 34, 37)
    positions = np.array([[-6.0, 0.1, 0.2], [5.9, -3.0, 1.0], [0.0, -6.5, -7.1], [0.3, 0.2, 7.0], [0.1, 3.1, 0.0]])
    atoms = trace_atoms(gaussian_atoms(shape, voxel_size, positions, np.full(5, 20.0)), voxel_size)
    match = match_atoms(atoms.positions, positions, max_distance=0.5)
    assert match.recall == 1 and match.precision == 1
    assert match.rmsd < 0.02


def test_light_atoms_beside_heavy_ones_are_found():
    voxel_size, shape = (0.3, 0.3, 0.3), (41, 44, 47)
    positions = np.array([[0.0, 0.0, 0.0], [1.9, 0.3, 0.1], [-0.2, -2.0, 0.4]])
    volume = gaussian_atoms(shape, voxel_size, positions, [60.0, 10.0, 12.0], width=0.4)
    match = match_atoms(trace_atoms(volume, voxel_size, min_separation=1.6).positions, positions, 0.5)
    assert match.recall == 1 and match.precision == 1
    assert match.rmsd < 1e-3


def test_strongest_atoms_are_kept_when_their_number_is_given():
    shape, voxel_size = GRIDS[0]
    _, heights, volume = particle(shape, voxel_size, (10.0, 30.0))
    atoms = trace_atoms(volume, voxel_size, max_atoms=20)
    assert len(atoms.positions) == 20
    assert atoms.heights.min() > 25


def test_threshold_given_by_hand_is_a_height_in_volts():
    shape, voxel_size = GRIDS[0]
    positions, heights, volume = particle(shape, voxel_size, (10.0, 30.0))
    atoms = trace_atoms(volume, voxel_size, threshold=18.0)
    assert atoms.threshold == 18
    assert len(atoms.positions) == np.sum(heights > 18)


def test_threshold_separates_noise_from_the_weakest_element_and_not_elements_from_each_other():
    rng = np.random.default_rng(4)
    elements = np.concatenate([rng.normal(10, 0.5, 80), rng.normal(30, 1.5, 60)])
    noise_peaks = np.abs(rng.normal(0, 1, 3000)) + 1.5
    assert 5 < automatic_threshold(np.concatenate([elements, noise_peaks]), noise=1.0) < 8.8
    assert automatic_threshold(elements, noise=0.0) < 8.8


def test_volume_without_peaks_has_no_atoms():
    atoms = trace_atoms(np.zeros((9, 10, 11)), (0.4, 0.4, 0.4))
    assert atoms.positions.shape == (0, 3) and atoms.widths.shape == (0, 3)


def test_complex_potential_is_refused():
    with pytest.raises(ValueError, match="of a complex potential, pass the real part"):
        trace_atoms(np.ones((4, 5, 6), dtype=complex), (1.0, 1.0, 1.0))


def test_gold_cluster_of_the_mset_data_is_traced(shared_data):
    """Eleven gold atoms; arrays there are (x, y, z) with voxel i centred at 0.4 i + 0.1333 Å."""
    path = shared_data / "mset_auNP_4dstem_tilt_sim" / "mset_auNP_4dstem_tilt.h5"
    with h5py.File(path) as file:
        potential = file["gt/potential_3d_V"][()].transpose(2, 1, 0)
        true = file["gt/atoms_angstrom"][()][:, ::-1] - (0.4 * 12 + 0.4 / 3)
        numbers = file["gt/Z"][()]
    atoms = trace_atoms(potential, (0.4, 0.4, 0.4), min_separation=1.6)
    match = match_atoms(atoms.positions, true, max_distance=0.5, true_numbers=numbers)
    assert match.recall == 1 and match.precision == 1
    assert match.rmsd < 0.05
    assert match.elements[79].count == 11


@pytest.mark.slow
def test_thousands_of_atoms_are_traced():
    rng = np.random.default_rng(5)
    shape, voxel_size = (140, 141, 139), (0.4, 0.4, 0.4)
    corner = np.stack(np.meshgrid(*([np.arange(-6, 7) * 4.0] * 3), indexing="ij"), -1).reshape(-1, 3)
    positions = np.concatenate([corner + o for o in ([0, 0, 0], [2, 2, 0], [2, 0, 2], [0, 2, 2])])
    positions = positions[np.linalg.norm(positions, axis=1) < 22]
    positions = positions + rng.uniform(-0.15, 0.15, positions.shape)
    volume = gaussian_atoms(shape, voxel_size, positions, rng.choice([10.0, 20.0, 30.0], len(positions)))
    volume += rng.normal(size=shape)
    match = match_atoms(trace_atoms(volume, voxel_size).positions, positions, max_distance=0.8)
    assert len(positions) > 2700
    assert match.recall > 0.999 and match.precision > 0.999
    assert match.rmsd < 0.03
