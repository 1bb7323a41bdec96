"""Tilting and slicing in one pass: the fast path against its plain twin in `physics.rotation`."""

import pytest
import torch
from checks import assert_adjoint, peak_memory, random_tensor, relative_error

from dptt.kernels import backproject_slices, pose_derivatives, project_slices
from dptt.physics.rotation import bin_slices, rotate_volume, sampling_map

VOXEL = (0.5, 0.4, 0.3)
SHAPE = (6, 7, 10)
POSES = {
    "untilted": ((0.0, 0.0, 0.0), (0.0, 0.0)),
    "tilted": ((4.0, -27.0, 11.0), (0.37, -0.26)),
    "about the axis": ((0.0, 30.0, 0.0), (0.0, 0.0)),
    "on edge": ((-3.0, 88.0, -95.0), (-0.1, 0.9)),
    "half outside": ((10.0, 40.0, 0.0), (0.3, 1.7)),
}
DTYPES = {"real": torch.float64, "complex": torch.complex128}


def pose_map(pose, dtype=torch.float64):
    return sampling_map(*(torch.tensor(numbers, dtype=dtype) for numbers in POSES[pose]), VOXEL)


@pytest.mark.parametrize("num_slices", [1, 2, 6])
@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("pose", POSES)
def test_projection_is_rotation_then_binning(pose, kind, num_slices):
    volume, map_ = random_tensor(*SHAPE, seed=1, dtype=DTYPES[kind]), pose_map(pose)
    expected = bin_slices(rotate_volume(volume, map_), num_slices, VOXEL[0])
    torch.testing.assert_close(project_slices(volume, map_, num_slices, VOXEL[0]), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", [(5, 8, 7), (9, 4, 11)])
def test_odd_depths_project_alike(shape):
    volume, map_ = random_tensor(*shape, seed=2), pose_map("tilted")
    expected = bin_slices(rotate_volume(volume, map_), 1, VOXEL[0])
    torch.testing.assert_close(project_slices(volume, map_, 1, VOXEL[0]), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype,rtol", [(torch.float64, 1e-14), (torch.complex128, 1e-14), (torch.float32, 1e-6)])
@pytest.mark.parametrize("pose", POSES)
def test_backprojection_is_the_adjoint_of_projection(pose, dtype, rtol):
    map_ = pose_map(pose)
    assert_adjoint(
        lambda volume: project_slices(volume, map_, 3, VOXEL[0]),
        lambda slices: backproject_slices(slices, map_, SHAPE, VOXEL[0]),
        random_tensor(*SHAPE, seed=3, dtype=dtype),
        rtol=rtol,
    )


def test_single_precision_volumes_are_projected_to_single_precision():
    volume, map_ = random_tensor(*SHAPE, seed=4), pose_map("tilted")
    single = project_slices(volume.float(), map_, 3, VOXEL[0])
    assert single.dtype == torch.float32
    assert relative_error(single, project_slices(volume, map_, 3, VOXEL[0])) < 2e-7


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("pose", ["untilted", "about the axis", "tilted", "half outside"])
def test_pose_gradient_is_that_of_the_plain_twin(pose, kind):
    volume, map_ = random_tensor(*SHAPE, seed=5, dtype=DTYPES[kind]), pose_map(pose).requires_grad_()
    slice_gradient = random_tensor(3, *SHAPE[1:], seed=6, dtype=DTYPES[kind])
    slices = bin_slices(rotate_volume(volume, map_), 3, VOXEL[0])
    (expected,) = torch.autograd.grad(slices, map_, slice_gradient)
    gradient, _ = pose_derivatives(volume, map_.detach(), slice_gradient, VOXEL[0])
    some = slice(pose == "untilted", None)  # layers end between slices there: the twin takes the slope on one side
    torch.testing.assert_close(gradient[some], expected[some], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pose", ["tilted", "on edge"])
def test_moments_give_the_derivative_of_the_projected_image_by_every_entry_of_the_map(pose):
    """For a smooth potential within the volume, with which the curvature of poses is concerned."""
    shape, map_, step = (21, 24, 26), pose_map(pose), 1e-5
    z, y, x = ((torch.arange(n).double() - n // 2) * d for n, d in zip(shape, VOXEL, strict=True))
    volume = sum(
        torch.exp(-((z[:, None, None] - a) ** 2 + (y[:, None] - b) ** 2 + (x - c) ** 2) / (2 * 0.6**2))
        for a, b, c in ((0.5, -0.3, 0.6), (-0.6, 0.4, -0.2))
    )
    image = lambda m: bin_slices(rotate_volume(volume, m), 1, VOXEL[0])[0]  # noqa: E731
    expected = torch.zeros(3, 4, *shape[1:]).double()
    for i in range(3):
        for j in range(4):
            moved = torch.zeros(3, 4).double()
            moved[i, j] = step
            expected[i, j] = (image(map_ + moved) - image(map_ - moved)) / (2 * step)
    _, moments = pose_derivatives(volume, map_, torch.zeros(1, *shape[1:]).double(), VOXEL[0])
    ny, nx = shape[1:]
    y, x = (torch.arange(ny) - ny // 2)[:, None], torch.arange(nx) - nx // 2
    first, second = moments.unbind(1)
    ours = torch.stack([second, first * y, first * x, first], dim=1)
    for i in range(3):
        assert (ours[i] - expected[i]).norm() < 0.03 * expected[i].norm()


def test_projection_holds_no_rotated_volume():
    """It needs a few planes, however deep the volume is."""
    map_, (ny, nx) = pose_map("tilted"), (33, 40)
    peaks = []
    for depth in (32, 96):
        volume = random_tensor(depth, ny, nx, seed=8)
        project_slices(volume, map_, 4, VOXEL[0])  # makes the plan
        peaks.append(peak_memory(lambda volume=volume: project_slices(volume, map_, 4, VOXEL[0])))
    assert peaks[1] - peaks[0] < 0.2 * 8 * 64 * ny * nx, "a fifth of what the volume has grown by"
