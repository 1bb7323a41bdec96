import numpy as np
import pytest
from gaussian_particles import gaussian_atoms, random_packing
from scipy.spatial.transform import Rotation

from dptt.analysis.registration import register_rigid, register_translation
from dptt.analysis.resampling import shift_volume, transform_volume

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
