import numpy as np
import pytest
from gaussian_particles import gaussian_atoms, random_packing
from scipy.spatial.transform import Rotation

from dptt.analysis.registration import register_rigid
from dptt.analysis.resampling import shift_volume, transform_volume
from dptt.analysis.translation import register_translation

VOXEL_SIZE = (0.4, 0.35, 0.3)
SHAPE = (41, 46, 53)


@pytest.fixture
def atoms():
    return random_packing(40, 5.0, 2.3, np.random.default_rng(0))


@pytest.mark.parametrize("offset", [(0.13, -0.21, 0.07), (1.3, -2.2, 0.9), (0.0, 0.0, 0.0)])
def test_translation_is_found_to_a_fraction_of_a_voxel_and_brings_the_volume_back(atoms, offset):
    heights = np.full(len(atoms), 10.0)
    reference = gaussian_atoms(SHAPE, VOXEL_SIZE, atoms, heights)
    moved = gaussian_atoms(SHAPE, VOXEL_SIZE, atoms + np.array(offset), heights)
    shift = register_translation(reference, moved, VOXEL_SIZE)
    assert np.abs((shift + offset) / VOXEL_SIZE).max() < 2e-3
    assert np.allclose(shift_volume(moved, shift, VOXEL_SIZE), reference, atol=0.05)


def test_translation_survives_noise_scale_and_offset(atoms):
    rng = np.random.default_rng(1)
    reference = gaussian_atoms(SHAPE, VOXEL_SIZE, atoms, np.full(len(atoms), 10.0))
    offset = np.array([0.5, 0.83, -0.62])
    moved = 0.6 * gaussian_atoms(SHAPE, VOXEL_SIZE, atoms + offset, np.full(len(atoms), 10.0)) + 3
    shift = register_translation(reference, moved + 0.5 * rng.normal(size=SHAPE), VOXEL_SIZE)
    assert np.abs((shift + offset) / VOXEL_SIZE).max() < 0.02


def test_translation_of_complex_volumes(atoms):
    heights = np.full(len(atoms), 10.0)
    phase = np.exp(0.3j)
    reference = phase * gaussian_atoms((40, 46, 53), VOXEL_SIZE, atoms, heights)
    moved = phase * gaussian_atoms((40, 46, 53), VOXEL_SIZE, atoms + 0.21, heights)
    assert np.abs(register_translation(reference, moved, VOXEL_SIZE) + 0.21).max() < 1e-3


def test_position_of_a_constant_volume_cannot_be_told():
    with pytest.raises(ValueError, match="constant"):
        register_translation(np.ones((4, 5, 6)), np.ones((4, 5, 6)), (1.0, 1.0, 1.0))


def test_rigid_motion_is_found_through_noise_scale_and_offset(atoms):
    rng = np.random.default_rng(2)
    turn = Rotation.from_rotvec(np.radians([2.0, -3.5, 2.5])).as_matrix()
    move = np.array([0.5, -0.4, 0.3])
    heights = rng.uniform(10, 30, len(atoms))
    reference = gaussian_atoms(SHAPE, VOXEL_SIZE, atoms, heights)
    moved = gaussian_atoms(SHAPE, VOXEL_SIZE, atoms @ turn.T + move, heights)
    found = register_rigid(reference, 0.7 * moved + 2 + 0.5 * rng.normal(size=SHAPE), VOXEL_SIZE)
    # found undoes the motion: rotation @ (turn @ r + move) + translation = r
    left_over = (atoms @ turn.T + move) @ found.rotation.T + found.translation - atoms
    assert np.sqrt(np.mean(left_over**2)) < 0.02 * 0.3
    assert found.angle == pytest.approx(np.linalg.norm([2.0, 3.5, 2.5]), abs=0.05)
    back = transform_volume(moved, found.rotation, found.translation, VOXEL_SIZE)
    assert np.corrcoef(back.ravel(), reference.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("angle", [3.0, 40.0])
def test_rigid_motion_is_found_from_far_away(atoms, angle):
    turn = Rotation.from_rotvec(np.radians(angle) * np.array([0.36, -0.48, 0.8])).as_matrix()
    move = np.array([1.2, -1.5, 0.9])
    heights = np.random.default_rng(3).uniform(10, 30, len(atoms))
    reference = gaussian_atoms(SHAPE, VOXEL_SIZE, atoms, heights)
    moved = gaussian_atoms(SHAPE, VOXEL_SIZE, atoms @ turn.T + move, heights)
    noisy = moved + np.random.default_rng(4).normal(size=SHAPE)
    motion = register_rigid(reference, noisy, VOXEL_SIZE)
    left_over = (atoms @ turn.T + move) @ motion.rotation.T + motion.translation - atoms
    assert np.sqrt(np.mean(left_over**2)) < 0.02
    assert motion.angle == pytest.approx(angle, abs=0.2)
    assert motion.correlation > 0.7


def one_plane(rng):
    return rng.normal(size=(1, 20, 20)), rng.normal(size=(1, 20, 20))


def constant(rng):
    return np.zeros((12, 13, 14)), rng.normal(size=(12, 13, 14))


def slope(rng):
    return np.arange(12.0)[:, None, None] * np.ones((12, 13, 14)), rng.normal(size=(12, 13, 14))


def one_voxel(rng):
    a, b = np.zeros((40, 40, 40)), np.zeros((40, 40, 40))
    a[20, 20, 20], b[2, 3, 4] = 1.0, 1.0
    return a, b


def unrelated(rng):
    return rng.normal(size=(40, 41, 42)), rng.normal(size=(40, 41, 42))


def huge(rng):
    return 1e150 * rng.normal(size=(12, 13, 14)), 1e-150 * rng.normal(size=(12, 13, 14))


@pytest.mark.slow
@pytest.mark.parametrize("make", [one_plane, constant, slope, one_voxel, unrelated, huge])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_finite_volumes_of_any_kind_never_raise_and_the_merit_says_what_to_think_of_the_motion(make):
    reference, volume = make(np.random.default_rng(0))
    motion = register_rigid(reference, volume, (0.4, 0.4, 0.4))
    assert np.isfinite(motion.rotation).all() and np.isfinite(motion.translation).all()
    assert np.allclose(motion.rotation @ motion.rotation.T, np.eye(3))
    assert -0.2 < motion.correlation < 0.5 or make is one_voxel
