import numpy as np
import pytest
from gaussian_particles import gaussian_atoms
from scipy.spatial.transform import Rotation

from dptt.analysis.resampling import resample_volume, shift_volume, transform_volume

ATOMS = np.array([[0.3, -1.1, 2.0], [-1.4, 0.8, 0.1], [1.7, 1.9, -1.5]])
HEIGHTS = np.array([10.0, 20.0, 30.0])


@pytest.mark.parametrize("shape", [(31, 36, 45), (32, 35, 44)])
def test_shift_moves_the_atoms_by_plus_the_shift(shape):
    voxel_size, shift = (0.4, 0.35, 0.3), np.array([0.77, -0.31, 0.15])
    shifted = shift_volume(gaussian_atoms(shape, voxel_size, ATOMS, HEIGHTS), shift, voxel_size)
    assert np.isrealobj(shifted)
    assert np.allclose(shifted, gaussian_atoms(shape, voxel_size, ATOMS + shift, HEIGHTS), atol=2e-2)


def test_shift_by_whole_voxels_is_a_roll_of_any_complex_volume():
    rng = np.random.default_rng(0)
    volume = rng.normal(size=(7, 8, 9)) + 1j * rng.normal(size=(7, 8, 9))
    shifted = shift_volume(volume, np.array([1.0, -1.5, 0.6]), (1.0, 0.5, 0.3))
    assert np.allclose(shifted, np.roll(volume, (1, -3, 2), axis=(0, 1, 2)))


@pytest.mark.parametrize(
    ("shape", "voxel_size", "new_shape", "new_voxel_size"),
    [
        ((31, 36, 45), (0.4, 0.35, 0.3), (40, 41, 43), (0.3, 0.3, 0.3)),
        ((40, 41, 43), (0.3, 0.3, 0.3), (29, 30, 33), (0.41, 0.4, 0.37)),
        ((40, 40, 40), (0.3, 0.3, 0.3), (50, 47, 54), (0.3, 0.3, 0.3)),
    ],
    ids=["to finer voxels", "to coarser voxels", "to a larger box"],
)
def test_resampled_atoms_stay_where_and_as_high_as_they_are(shape, voxel_size, new_shape, new_voxel_size):
    volume = gaussian_atoms(shape, voxel_size, ATOMS, HEIGHTS)
    expected = gaussian_atoms(new_shape, new_voxel_size, ATOMS, HEIGHTS)
    found = resample_volume(volume, voxel_size, new_voxel_size, new_shape)
    assert np.abs(found - expected).max() < 0.003 * HEIGHTS.max()


def test_resampling_to_the_same_grid_changes_nothing():
    volume = np.random.default_rng(1).normal(size=(9, 10, 11)) * (1 + 2j)
    assert np.allclose(resample_volume(volume, (0.4, 0.4, 0.3), (0.4, 0.4, 0.3)), volume)


def test_resampling_fills_with_zeros_beyond_the_old_box():
    found = resample_volume(np.ones((4, 5, 6)), (1.0, 1.0, 1.0), (0.5, 0.5, 0.5), (16, 17, 18))
    assert found.min() == 0 and found.max() == pytest.approx(1)
    assert np.count_nonzero(found > 0.5) == 9 * 11 * 13  # to half a voxel beyond the centres


def test_transform_turns_and_moves_the_atoms():
    shape, voxel_size = (45, 48, 51), (0.3, 0.28, 0.25)
    rotation = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()
    translation = np.array([0.4, -0.2, 0.3])
    volume = gaussian_atoms(shape, voxel_size, ATOMS, HEIGHTS)
    expected = gaussian_atoms(shape, voxel_size, ATOMS @ rotation.T + translation, HEIGHTS)
    found = transform_volume(volume, rotation, translation, voxel_size)
    assert np.abs(found - expected).max() < 0.01 * HEIGHTS.max()
