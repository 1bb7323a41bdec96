"""Every step is divided by a bound on the curvature: measured here on small problems."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from checks import random_tensor
from small_series import GEOMETRY, focused_probe, make_truth

from dptt.kernels import Batch, backproject_slices, multislice_gradient, pose_derivatives, project_slices
from dptt.model.losses import Misfit
from dptt.physics.multislice import far_field, multislice
from dptt.physics.patches import extract_patches, split_positions
from dptt.physics.potential import transmission, transmission_gradient
from dptt.physics.probe import shift_probe
from dptt.physics.rotation import bin_slices, rotate_volume, sampling_map
from dptt.solvers.tomography.steps import (
    ILLUMINATION_FLOOR,
    pose_hessian,
    position_hessian,
    precondition_slices,
)


def largest_curvature(tilt, geometry, kind, truth=None, iterations=40):
    """Power iteration of preconditioner · J^H J, J = d sqrt(I)/dV at the truth; its square is half the Hessian."""
    truth = truth or make_truth()
    map_ = sampling_map(truth.euler_angles[tilt], truth.translations[tilt], geometry.voxel_size)
    thickness = geometry.voxel_size[0]
    slices = project_slices(truth.volume, map_, geometry.num_slices, thickness)
    transmitted = transmission(slices, geometry.sigma)
    window = geometry.window_shape
    corners, shifts = split_positions(truth.positions[tilt], geometry.sampling, geometry.volume_shape[1:], window)
    propagator = geometry.propagator(geometry.slice_thickness, torch.complex128)
    shifted = shift_probe(truth.probe, shifts[:, None, 0], shifts[:, None, 1])

    def wave(t):
        return far_field(multislice(shifted, extract_patches(t, corners, window), propagator))

    far, pull_back = torch.func.vjp(wave, transmitted)
    amplitude = far.abs().square().sum(1, keepdim=True).sqrt()
    misfit = Misfit("amplitude", 1e-9)
    batch = Batch(transmitted, truth.probe, corners, shifts, amplitude[:, 0] ** 2, propagator, misfit)
    illumination = multislice_gradient(batch).illumination
    bound = {
        "curvature": 2.0,
        "sigma": geometry.sigma,
        "planes": geometry.volume_shape[0],
        "voxel_thickness": thickness,
    }
    x = random_tensor(*geometry.volume_shape, seed=5, dtype=torch.complex128 if kind == "complex" else torch.float64)
    for _ in range(iterations):
        x = x / torch.linalg.vector_norm(x)
        change = 1j * geometry.sigma * transmitted * project_slices(x, map_, geometry.num_slices, thickness)
        step = 1e-4  # the exit wave is linear in each slice: a central difference is exact enough
        moved = (wave(transmitted + step * change) - wave(transmitted - step * change)) / (2 * step)
        by_amplitude = (far.conj() * moved).real.sum(1, keepdim=True) / amplitude
        by_transmission = pull_back(2 * by_amplitude * far / amplitude)[0]
        gradient = transmission_gradient(by_transmission, transmitted, geometry.sigma)
        gradient = gradient if kind == "complex" else gradient.real
        update = precondition_slices(gradient, illumination, **bound)
        x = backproject_slices(update, map_, geometry.volume_shape, thickness)
    return torch.linalg.vector_norm(x).item()


@pytest.mark.parametrize("tilt,voxel_depth,num_slices", [(0, 0.6, 4), (2, 0.6, 1), (2, 4.0, 4)])
def test_no_direction_of_a_complex_volume_is_steeper_than_the_bound_and_one_nearly_reaches_it(
    tilt, voxel_depth, num_slices
):
    geometry = replace(GEOMETRY, voxel_size=(voxel_depth, *GEOMETRY.sampling), num_slices=num_slices)
    assert 0.8 < largest_curvature(tilt, geometry, "complex") <= 1


@pytest.mark.parametrize("tilt", [0, 2])
def test_no_direction_of_a_real_volume_is_steeper_than_the_bound(tilt):
    assert 0.3 < largest_curvature(tilt, GEOMETRY, "real") <= 1


def test_a_crossover_deep_in_a_thick_specimen_keeps_the_full_step_stable():
    """The illumination is that of the first slice: 200 Å deeper it may be denser, but steps below 2/1.5 converge."""
    geometry = replace(GEOMETRY, voxel_size=(20.0, *GEOMETRY.sampling))
    assert largest_curvature(2, geometry, "complex", make_truth(probe=focused_probe(defocus=240.0))) < 1.5


def test_dim_pixels_take_smaller_steps_than_newton_and_dark_ones_stay_finite():
    bound = {"curvature": 2.0, "sigma": 0.5, "planes": 3, "voxel_thickness": 0.2}
    gradient, illumination = torch.ones(2, 1, 3).double(), torch.tensor([[200.0, 2, 0]]).double()
    unit = 2.0 * 0.25 * 3 * 0.04
    steps = precondition_slices(gradient, illumination, **bound)
    floor = ILLUMINATION_FLOOR * 200
    expected = 1 / (unit * torch.tensor([200, floor, floor], dtype=torch.float64))
    torch.testing.assert_close(steps, expected.expand(2, 1, 3))
    assert torch.isfinite(precondition_slices(gradient, torch.zeros(1, 3).double(), **bound)).all()


def test_position_hessian_is_the_sum_over_each_window():
    image, window, factor = (11, 14), (6, 5), 0.7
    projection, intensity = random_tensor(*image, seed=5), random_tensor(*window, seed=6).square()
    corners = torch.tensor([[0, 0], [5, 9], [3, 2], [-2, 12]])  # the last one wraps around
    slopes = np.stack(np.gradient(projection.numpy()))
    expected = np.zeros((4, 2, 2))
    for n, (top, left) in enumerate(corners.tolist()):
        for y in range(6):
            for x in range(5):
                slope = slopes[:, (top + y) % 11, (left + x) % 14]
                expected[n] += factor * intensity[y, x].item() * np.outer(slope, slope)
    hessian = position_hessian(intensity, corners, projection, factor)
    np.testing.assert_allclose(hessian.numpy(), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_pose_hessian_is_the_illuminated_product_of_the_image_derivatives(dtype):
    shape, voxel, factor = (6, 7, 10), (0.5, 0.4, 0.3), 0.7
    volume, illumination = random_tensor(*shape, seed=7, dtype=dtype), random_tensor(*shape[1:], seed=8).square()
    pose = torch.tensor([4.0, -27.0, 11.0]).double(), torch.tensor([0.37, -0.26]).double()

    def image(angles, translation):
        projected = bin_slices(rotate_volume(volume, sampling_map(angles, translation, voxel)), 1, voxel[0])[0]
        return torch.stack([projected.real, projected.imag]) if dtype.is_complex else projected

    derivatives = torch.cat(torch.autograd.functional.jacobian(image, pose), dim=-1)
    expected = factor * torch.einsum("...yxp,yx,...yxq->pq", derivatives, illumination, derivatives)
    map_ = sampling_map(*pose, voxel)
    _, moments = pose_derivatives(volume, map_, torch.zeros(1, *shape[1:], dtype=dtype), voxel[0])
    jacobian = torch.cat(torch.autograd.functional.jacobian(lambda a, t: sampling_map(a, t, voxel), pose), dim=2)
    torch.testing.assert_close(pose_hessian(moments, jacobian, illumination, factor), expected, rtol=1e-11, atol=0)
