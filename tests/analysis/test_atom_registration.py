"""The motion that traced and true atoms have in common is removed, and none is invented where there is none."""

import time

import numpy as np
import pytest
from gaussian_particles import random_packing
from scipy.spatial.transform import Rotation

from dptt.analysis.atom_registration import register_atoms

DISTANCE = 0.7


@pytest.fixture(scope="module")
def true():
    return random_packing(164, 9.0, 2.0, np.random.default_rng(0)) + np.array([1.0, -2.0, 0.5])


def traced_from(true, *, rotation=None, displacement=(0.0, 0.0, 0.0), missing=0, additional=0, noise=0.05, seed=1):
    """Positions as a reconstruction shows them: moved, in another order, with atoms missed and added."""
    rng = np.random.default_rng(seed)
    moved = true if rotation is None else true @ rotation.T
    moved = moved + np.asarray(displacement) + noise * rng.normal(size=true.shape)
    kept = rng.permutation(len(true))[missing:]
    false = rng.uniform(moved.min(), moved.max(), (additional, 3))
    return rng.permutation(np.concatenate([moved[kept], false]))


@pytest.mark.parametrize("undetermined", ["none", "translation"])
@pytest.mark.parametrize("displacement", [(0.2, 0.1, -0.3), (0.6, -0.7, 0.5), (5.0, -8.0, 3.0)])
def test_atoms_displaced_together_are_all_joined_and_the_displacement_is_reported(true, undetermined, displacement):
    registered = register_atoms(
        traced_from(true, displacement=displacement, missing=10, additional=40),
        true,
        DISTANCE,
        undetermined=undetermined,
    )
    assert registered.motion == "translation"
    assert registered.match.recall == pytest.approx(154 / 164)
    assert registered.match.rmsd == pytest.approx(0.05 * np.sqrt(3), rel=0.15)
    assert registered.displacement == pytest.approx(displacement, abs=0.03)
    assert registered.angle == 0


@pytest.mark.parametrize("angle", [3.0, 40.0])
@pytest.mark.parametrize("undetermined", ["none", "rigid"])
def test_atoms_rotated_together_are_all_joined_and_the_angle_is_reported(true, angle, undetermined):
    rotation = Rotation.from_rotvec(np.radians(angle) * np.array([0.36, 0.48, 0.8])).as_matrix()
    traced = traced_from(true, rotation=rotation, displacement=(3.0, 1.0, -4.0), missing=20, additional=60)
    registered = register_atoms(traced, true, DISTANCE, undetermined=undetermined)
    assert registered.motion == "rigid"
    assert registered.match.recall == pytest.approx(144 / 164, abs=0.01)
    assert registered.angle == pytest.approx(angle, abs=0.2)
    assert registered.match.rotation == pytest.approx(rotation.T, abs=0.005)


def test_a_crystal_is_not_registered_one_lattice_vector_off():
    index = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    crystal = index[(index.sum(axis=1) % 2 == 0) & (np.linalg.norm(index, axis=1) <= 4)] * 1.96
    traced = traced_from(crystal, displacement=(1.96, 1.96, 0.1), missing=3)
    registered = register_atoms(traced, crystal, DISTANCE)
    assert registered.match.recall == pytest.approx(1 - 3 / len(crystal))
    assert registered.displacement == pytest.approx([1.96, 1.96, 0.1], abs=0.03)


def test_a_large_particle_rotated_together_is_registered_in_seconds():
    particle = random_packing(1200, 20.0, 2.0, np.random.default_rng(3))
    rotation = Rotation.from_rotvec(np.radians([20.0, -10.0, 15.0])).as_matrix()
    traced = traced_from(particle, rotation=rotation, displacement=(1.0, 2.0, 3.0), additional=300)
    begin = time.process_time()
    registered = register_atoms(traced, particle, DISTANCE)
    assert time.process_time() - begin < 60
    assert registered.match.recall == 1
    assert registered.match.rmsd < 0.1


def test_atoms_in_place_stay_in_place(true):
    """A healthy match is the one without any search, with its errors: no motion is fitted to noise."""
    traced = traced_from(true, noise=0.2, missing=20, additional=30)
    registered = register_atoms(traced, true, DISTANCE)
    assert registered.motion == "none"
    assert np.array_equal(registered.match.rotation, np.eye(3)) and not registered.match.translation.any()
    assert registered.match.rmsd == pytest.approx(0.2 * np.sqrt(3), rel=0.15)


@pytest.mark.parametrize("num_traced", [1, 3, 7, 160, 500])
def test_unrelated_atoms_are_not_joined_by_a_motion(true, num_traced):
    traced = np.random.default_rng(7).uniform(-9, 9, (num_traced, 3))
    registered = register_atoms(traced, true, DISTANCE)
    assert registered.motion == "none"
    assert registered.merit < 0.5 or num_traced == 1


@pytest.mark.parametrize(("num_traced", "num_true"), [(0, 5), (5, 0), (0, 0), (1, 1), (2, 1)])
def test_sets_without_atoms_or_with_one_are_no_error(num_traced, num_true):
    rng = np.random.default_rng(0)
    for undetermined in ("none", "translation", "rigid"):
        traced, true = rng.uniform(-9, 9, (num_traced, 3)), rng.uniform(-9, 9, (num_true, 3))
        registered = register_atoms(traced, true, DISTANCE, undetermined=undetermined)
        assert np.isfinite(registered.displacement).all() and 0 <= registered.merit <= 1
        assert registered.motion == undetermined


def test_atoms_on_a_line_or_in_a_plane_are_registered():
    line = np.column_stack([np.zeros(12), np.zeros(12), np.cumsum(np.linspace(2, 3, 12))])
    plane = random_packing(40, 12.0, 2.0, np.random.default_rng(4)) * [0, 1, 1]
    for atoms in (line, plane):
        traced = traced_from(atoms, displacement=(0, 2, -9))
        registered = register_atoms(traced, atoms, DISTANCE, undetermined="rigid")
        assert registered.match.recall == 1
