import numpy as np
import pytest
import torch
from checks import assert_adjoint, random_tensor
from scipy.spatial.transform import Rotation

from dptt.physics.rotation import bin_slices, rotate_volume, rotation_matrix, sampling_map

VOXEL = (0.5, 0.4, 0.3)
ANGLES = (4.0, -27.0, 11.0)
TRANSLATION = (0.37, -0.26)


def tensor(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def pose_map(angles=ANGLES, translation=TRANSLATION, voxel=VOXEL):
    return sampling_map(tensor(*angles), tensor(*translation), voxel)


@pytest.mark.parametrize("angles", [(30.0, 0.0, 0.0), (0.0, 30.0, 0.0), (0.0, 0.0, 30.0), (12.0, -55.0, 170.0)])
def test_rotation_is_that_of_scipy_about_fixed_x_then_y_then_z(angles):
    expected = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    np.testing.assert_allclose(rotation_matrix(tensor(*angles)).numpy(), expected, rtol=0, atol=1e-15)


def test_positive_tilt_moves_the_plus_x_side_towards_minus_z():
    volume = torch.zeros(9, 7, 11).double()
    volume[4, 3, 5 + 3] = 1.0
    tilted = rotate_volume(volume, pose_map((0.0, 90.0, 0.0), (0.0, 0.0), (0.4, 0.4, 0.4)))
    torch.testing.assert_close(tilted[4 - 3, 3, 5], tensor(1.0)[0])
    z = torch.arange(9).double()[:, None, None] - 4
    slightly = rotate_volume(volume, pose_map((0.0, 20.0, 0.0), (0.0, 0.0), (0.4, 0.4, 0.4)))
    assert (slightly * z).sum() < -0.5


def test_translation_moves_the_content_by_plus_tau():
    volume = random_tensor(4, 9, 8, seed=1)
    volume[:, [0, -1, -2]], volume[:, :, :3] = 0, 0
    moved = rotate_volume(volume, pose_map((0.0, 0.0, 0.0), (2 * VOXEL[1], -3 * VOXEL[2])))
    torch.testing.assert_close(moved, volume.roll((2, -3), (1, 2)), rtol=0, atol=1e-13)


def gaussian_blob(shape, voxel, centre, width):
    """A blob at `centre` (x, y, z) [Å] relative to the voxel n//2."""
    z, y, x = torch.meshgrid(
        *((torch.arange(n).double() - n // 2) * d for n, d in zip(shape, voxel, strict=True)), indexing="ij"
    )
    squared = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
    return torch.exp(-squared / (2 * width**2)), (x, y, z)


@pytest.mark.parametrize("shape", [(29, 36, 41), (30, 35, 44)])
def test_a_blob_lands_where_the_pose_says(shape):
    position = np.array([1.3, -0.9, 1.7])
    blob, coordinates = gaussian_blob(shape, VOXEL, position, width=0.9)
    landed = rotate_volume(blob, pose_map())
    found = [((landed * c).sum() / landed.sum()).item() for c in coordinates]
    tau = np.array([TRANSLATION[1], TRANSLATION[0], 0.0])
    expected = Rotation.from_euler("xyz", ANGLES, degrees=True).as_matrix() @ position + tau
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-3)


def test_a_smooth_potential_is_that_at_the_rotated_places():
    """V'(r') = V(R⁻¹(r' - tau)), for three blobs, each of them 3 voxels wide or more, at every voxel."""
    shape, places = (41, 54, 70), [(1.5, -0.5, 1.0), (-2.0, 1.0, -0.5), (0.3, 0.2, -1.9)]
    volume = sum(gaussian_blob(shape, VOXEL, place, 1.5)[0] for place in places)
    _, (x, y, z) = gaussian_blob(shape, VOXEL, (0.0, 0.0, 0.0), 1.0)
    matrix = Rotation.from_euler("xyz", ANGLES, degrees=True).as_matrix()
    r = np.stack([x, y, z], axis=-1) - np.array([TRANSLATION[1], TRANSLATION[0], 0.0])
    source = r @ matrix  # R^T acting on every point
    expected = sum(np.exp(-((source - place) ** 2).sum(-1) / (2 * 1.5**2)) for place in places)
    turned = rotate_volume(volume, pose_map()).numpy()
    assert np.abs(turned - expected).max() < 0.02 * expected.max(), "planes are averages over their thickness"
    projected, expected = turned.sum(0), expected.sum(0)
    assert np.abs(projected - expected).max() < 2e-3 * expected.max()


def test_sampling_map_converts_between_anisotropic_voxels():
    matrix = Rotation.from_euler("xyz", ANGLES, degrees=True).as_matrix()
    target = np.array([3.0, -2.0, 5.0])  # voxels (z, y, x) from the centre
    in_microscope = (target * VOXEL)[::-1] - np.array([TRANSLATION[1], TRANSLATION[0], 0.0])
    in_specimen = matrix.T @ in_microscope
    map_ = pose_map().numpy()
    np.testing.assert_allclose(map_[:, :3] @ target + map_[:, 3], in_specimen[::-1] / VOXEL, rtol=1e-14)


def test_no_rotation_changes_nothing():
    volume = random_tensor(4, 5, 7, seed=2, dtype=torch.complex128)
    torch.testing.assert_close(rotate_volume(volume, pose_map((0.0,) * 3, (0.0, 0.0))), volume, rtol=0, atol=1e-15)


@pytest.mark.parametrize("angles,plane", [((90, 0, 0), (1, 0)), ((0, 90, 0), (0, 2)), ((0, 0, 90), (2, 1))])
def test_quarter_turns_of_an_odd_cube_are_exact(angles, plane):
    """+y goes to +z about x, +z to +x about y, +x to +y about z."""
    volume = random_tensor(7, 7, 7, seed=3)
    turned = rotate_volume(volume, pose_map(angles, (0.0, 0.0), (0.4, 0.4, 0.4)))
    exact = 1e-13 if angles[1] else 2e-3  # a reversed axis is resampled, with weights whose sum is 1 to 1e-3
    np.testing.assert_allclose(turned.numpy(), np.rot90(volume.numpy(), axes=plane), rtol=0, atol=exact)


def test_what_lies_outside_the_volume_is_vacuum():
    ones = torch.ones(6, 7, 9).double()
    moved = rotate_volume(ones, pose_map((0.0, 0.0, 0.0), (2.5 * VOXEL[1], 0.0)))
    rows = tensor(0, 0, 0.5, 1, 1, 1, 1)
    assert (moved - rows[None, :, None]).abs().max() < 0.15, "an edge between two voxels overshoots"
    moved = rotate_volume(ones, pose_map((0.0, 0.0, 0.0), (2 * VOXEL[1], 0.0)))
    rows = tensor(0, 0, 1, 1, 1, 1, 1)
    torch.testing.assert_close(moved, rows[None, :, None].expand(6, 7, 9), rtol=0, atol=1e-14)
    far = rotate_volume(ones, pose_map((0.0, 0.0, 0.0), (0.0, 100.0)))
    assert (far == 0).all()


def test_rotation_is_linear_and_has_its_vector_jacobian_product_as_adjoint():
    map_ = pose_map()
    x = random_tensor(5, 6, 7, seed=4, dtype=torch.complex128)
    _, pull_back = torch.func.vjp(lambda v: rotate_volume(v, map_), torch.zeros_like(x))
    assert_adjoint(lambda v: rotate_volume(v, map_), lambda g: pull_back(g)[0], x, rtol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_derivatives_by_volume_angles_and_translation(dtype):
    volume = random_tensor(2, 3, 2, seed=5, dtype=dtype).requires_grad_()
    angles, translation = tensor(*ANGLES).requires_grad_(), tensor(*TRANSLATION).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v, a, t: rotate_volume(v, sampling_map(a, t, VOXEL)), (volume, angles, translation), rtol=1e-6
    )


def test_slices_are_the_projected_potential_of_their_planes():
    volume = random_tensor(6, 3, 5, seed=6)
    expected = torch.stack([0.5 * (volume[2 * k] + volume[2 * k + 1]) for k in range(3)])
    torch.testing.assert_close(bin_slices(volume, 3, 0.5), expected)


def test_planes_that_do_not_divide_into_slices_are_refused():
    with pytest.raises(ValueError, match="7 planes cannot be cut into 2 equal slices"):
        bin_slices(torch.zeros(7, 3, 5), 2, 0.5)
