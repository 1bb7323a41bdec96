"""Every step is divided by a bound on the curvature: measured here on small problems."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from checks import random_tensor
from small_series import GEOMETRY, Patterns, atoms, focused_probe, make_truth
from solver_settings import DEFAULTS, tomography_settings

from dptt.distributed.mesh import Mesh
from dptt.kernels import backproject_slices, pose_derivatives, project_slices
from dptt.model.forward import Geometry, model_intensity
from dptt.model.state import TomographyState
from dptt.physics.multislice import far_field, multislice, propagate
from dptt.physics.patches import extract_patches, split_positions
from dptt.physics.potential import transmission, transmission_gradient
from dptt.physics.probe import make_probe, shift_probe
from dptt.physics.rotation import bin_slices, rotate_volume, sampling_map
from dptt.solvers.tomography import EpochRecord, reconstruct
from dptt.solvers.tomography.illumination import position_density, slice_illumination
from dptt.solvers.tomography.steps import (
    FRACTION_OF_BOUND,
    ILLUMINATION_FLOOR,
    momentum_share,
    pose_hessian,
    position_hessian,
    precondition_slices,
    probe_step,
)

LARGEST = 1.3
"""Eigenvalue at a step of 1: far below 2, where plain descent diverges, and 3, where it does with momentum 0.5.
Voxels many times as long as wide come to 1.17, and to 1.24 with a strong specimen, which focuses the probe: its
illumination is that in vacuum."""


def newton_step(gradient, illumination, geometry):
    """Return the preconditioned slice gradient of an amplitude loss."""
    return precondition_slices(
        gradient,
        illumination,
        maximum_illumination=illumination.amax((1, 2)),
        curvature=2.0,
        sigma=geometry.sigma,
        planes=geometry.volume_shape[0],
        voxel_thickness=geometry.voxel_size[0],
    )


def largest_curvature(tilt, geometry, kind, truth=None, iterations=40, blocks="volume"):
    """Power iteration of preconditioner · J^H J, J = d sqrt(I)/dV at the truth; its square is half the Hessian.

    The `blocks` are the volume, or the "volume and probe" that one minibatch moves at once.
    """
    truth = truth or make_truth()
    map_ = sampling_map(truth.euler_angles[tilt], truth.translations[tilt], geometry.voxel_size)
    thickness = geometry.voxel_size[0]
    slices = project_slices(truth.volume, map_, geometry.num_slices, thickness)
    transmitted = transmission(slices, geometry.sigma)
    window = geometry.window_shape
    corners, shifts = split_positions(truth.positions[tilt], geometry.sampling, geometry.volume_shape[1:], window)
    propagator = geometry.propagator(geometry.slice_thickness, torch.complex128)

    def wave(t, probe):
        shifted = shift_probe(probe, shifts[:, None, 0], shifts[:, None, 1])
        return far_field(multislice(shifted, extract_patches(t, corners, window), propagator))

    far, pull_back = torch.func.vjp(wave, transmitted, truth.probe)
    amplitude = far.abs().square().sum(1, keepdim=True).sqrt()
    illumination, _ = slice_illumination(
        truth.probe,
        propagator,
        geometry.num_slices,
        corners=corners,
        shifts=shifts,
        image_shape=geometry.volume_shape[1:],
    )
    x = random_tensor(*geometry.volume_shape, seed=5, dtype=torch.complex128 if kind == "complex" else torch.float64)
    y = random_tensor(*truth.probe.shape, seed=6, dtype=torch.complex128)
    for _ in range(iterations):
        norm = torch.linalg.vector_norm(torch.cat([x.flatten(), y.flatten()]))
        x, y = x / norm, y / norm * (blocks != "volume")
        change = 1j * geometry.sigma * transmitted * project_slices(x, map_, geometry.num_slices, thickness)
        step = 1e-4  # the exit wave is linear in each slice: a central difference is exact enough
        ahead, behind = (wave(transmitted + d * change, truth.probe + d * y) for d in (step, -step))
        moved = (ahead - behind) / (2 * step)
        by_amplitude = (far.conj() * moved).real.sum(1, keepdim=True) / amplitude
        by_transmission, by_probe = pull_back(2 * by_amplitude * far / amplitude)
        gradient = transmission_gradient(by_transmission, transmitted, geometry.sigma)
        gradient = gradient if kind == "complex" else gradient.real
        update = newton_step(gradient, illumination, geometry)
        x = backproject_slices(update, map_, geometry.volume_shape, thickness)
        y = probe_step(by_probe, 2.0, len(corners))
    return torch.linalg.vector_norm(torch.cat([x.flatten(), y.flatten()])).item()


@pytest.mark.parametrize("tilt,voxel_depth,num_slices", [(0, 0.6, 4), (2, 0.6, 1), (2, 4.0, 4)])
def test_no_direction_of_a_complex_volume_is_steeper_than_the_bound_and_one_nearly_reaches_it(
    tilt, voxel_depth, num_slices
):
    geometry = replace(GEOMETRY, voxel_size=(voxel_depth, *GEOMETRY.sampling), num_slices=num_slices)
    assert 0.8 < largest_curvature(tilt, geometry, "complex") < LARGEST


@pytest.mark.parametrize("tilt", [0, 2])
def test_no_direction_of_a_real_volume_is_steeper_than_the_bound(tilt):
    assert 0.3 < largest_curvature(tilt, GEOMETRY, "real") < LARGEST


@pytest.mark.parametrize("num_slices", [1, 4])
def test_no_direction_of_volume_and_probe_together_is_steeper_than_descent_allows(num_slices):
    """A sum of both bounds: with a full step of the probe it would be above 2."""
    geometry = replace(GEOMETRY, num_slices=num_slices)
    alone = largest_curvature(2, geometry, "complex")
    joint = largest_curvature(2, geometry, "complex", blocks="volume and probe")
    assert alone + 0.2 < joint < LARGEST + 0.5


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("others", [0, 3, 50])
def test_what_momentum_carries_on_while_other_minibatches_are_computed_does_not_diverge(momentum, others):
    """A direction of curvature 0.95 that one minibatch of several lights."""
    error, velocity, step = 1.0, 0.0, momentum_share(momentum)
    for _ in range(200):
        for other in range(1 + others):
            velocity = momentum * velocity + (0.95 * error if other == 0 else 0)
            error -= step * velocity
    assert abs(error) < 1


SPARSE = [torch.tensor([[-2.3, -2.1], [-2.2, 2.2], [2.0, -2.4], [2.3, 2.1]], dtype=torch.float64)] * 5
"""Positions so far apart that a probe in focus lights each patch alone."""


@pytest.mark.parametrize("voxel_depth", [4.0, 12.0])
@pytest.mark.parametrize("volts", [0.0, 2500.0])
@pytest.mark.parametrize("place", ["entrance", "middle"])
def test_the_bound_holds_for_sparse_scans_in_focus_in_thick_and_in_strong_specimens(voxel_depth, volts, place):
    """There, the illumination of the entrance plane is no bound."""
    geometry = replace(GEOMETRY, voxel_size=(voxel_depth, *GEOMETRY.sampling))
    focus = {"entrance": -geometry.first_slice_depth, "middle": 0.0}[place]
    probe = make_probe(
        geometry.window_shape,
        geometry.sampling,
        wavelength=geometry.wavelength,
        semiangle=24.0,
        aberrations={"C10": focus},
        electrons=1e4,
    )
    probe = propagate(probe, geometry.propagator(geometry.first_slice_depth, torch.complex128))[None]
    volume = atoms(volts=volts * 0.6 / voxel_depth)
    truth = make_truth(volume=volume, probe=probe, positions=SPARSE)
    assert 0.2 < largest_curvature(2, geometry, "complex", truth, iterations=25) < LARGEST


@pytest.mark.parametrize("theta", [0.0, 20.0, 45.0, 60.0])
@pytest.mark.parametrize("depth", [0.4, 1.6])
def test_the_norm_of_the_projection_is_that_of_a_beam_path_in_any_pose(theta, depth):
    """Of all volumes, also those with frequencies that no slice can hold: as many planes as a path has."""
    voxel, shape = (depth, 0.4, 0.4), (8 if depth > 1 else 20, 5, 44)
    map_ = sampling_map(torch.tensor([1.0, theta, 2.0]).double(), torch.tensor([0.0, 0.13]).double(), voxel)
    x = random_tensor(*shape, seed=3)
    for _ in range(15):
        x = x / torch.linalg.vector_norm(x)
        x = backproject_slices(project_slices(x, map_, 1, 1.0), map_, shape, 1.0)
    assert 0.9 < torch.linalg.vector_norm(x).item() / shape[0] < 1.05


@pytest.mark.parametrize("shape", [(26, 29), (14, 13)])
def test_the_illumination_of_a_slice_is_the_sum_over_the_propagated_windows(shape):
    modes = torch.stack([focused_probe()[0], 0.3 * focused_probe(defocus=90.0)[0].roll(2, -1)])
    propagator = GEOMETRY.propagator(25.0, torch.complex128)
    corners, shifts = torch.tensor([[0, 0], [5, 9], [shape[0] - 3, -2]]), torch.zeros(3, 2, dtype=torch.float64)
    places = {"corners": corners, "shifts": shifts, "image_shape": shape}
    illumination, maxima = slice_illumination(modes, propagator, 3, **places)
    some, of_whole = slice_illumination(modes, propagator, 3, **places, rows=range(4, 9))
    assert torch.equal(some, illumination[:, 4:9]) and torch.equal(of_whole, illumination.amax((1, 2)))
    assert torch.equal(of_whole, maxima)
    for number in range(3):
        expected = torch.zeros(shape, dtype=torch.float64)
        intensity = modes.abs().square().sum(0)
        for top, left in corners.tolist():
            for y in range(modes.shape[1]):
                for x in range(modes.shape[2]):
                    expected[(top + y) % shape[0], (left + x) % shape[1]] += intensity[y, x]
        torch.testing.assert_close(illumination[number], expected, rtol=1e-10, atol=1e-8)
        modes = propagate(modes, propagator)


def test_sparse_scans_in_focus_inside_the_specimen_converge_with_default_steps():
    """The dose experiment of [P]: by the illumination of the entrance plane the loss rose a hundredfold."""
    geometry = Geometry(300e3, (8, 40, 40), (118 / 8, 0.4, 0.4), (24, 24), 8)
    probe = make_probe((24, 24), geometry.sampling, wavelength=geometry.wavelength, semiangle=25.0, electrons=1e5)
    probe = propagate(probe, geometry.propagator(geometry.first_slice_depth, torch.complex128))[None]
    volume = 4 * random_tensor(8, 40, 40, seed=3).abs()
    positions = torch.cartesian_prod(*[torch.tensor([-2.8, 0.0, 2.8], dtype=torch.float64)] * 2)
    pose = torch.zeros(1, 3, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    data = model_intensity(volume, probe, positions, pose[0][0], pose[1][0], geometry)
    state = TomographyState.initial(geometry.volume_shape, torch.float64, [probe], [positions], *pose)
    records: list[EpochRecord] = []
    settings = tomography_settings(epochs=8, validation_fraction=0.0)
    reconstruct(state, [Patterns(data)], geometry, settings, Mesh.serial(), records.append)
    losses = [record.loss for record in records]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize(
    "every", [pytest.param(2, marks=pytest.mark.thorough), pytest.param(12, marks=pytest.mark.thorough), 20]
)
def test_the_dose_experiment_of_the_paper_converges_with_default_settings(every):
    """Every n-th position of [P]'s raster, in focus at mid specimen, 200 e/Å², eight strong slices with shot noise.

    With steps by the illumination of the entrance plane, the loss rises and the guard undoes epochs.
    """
    geometry = Geometry(300e3, (8, 72, 72), (118 / 8, 0.4, 0.4), (40, 40), 8)
    probe = make_probe((40, 40), geometry.sampling, wavelength=geometry.wavelength, semiangle=25.0, electrons=3.5e4)
    probe = propagate(probe, geometry.propagator(geometry.first_slice_depth, torch.complex128))[None]
    generator, volume = np.random.default_rng(0), torch.zeros(geometry.volume_shape, dtype=torch.float64)
    grid = [(torch.arange(n) - n // 2) * d for n, d in zip(geometry.volume_shape, geometry.voxel_size, strict=True)]
    for centre in generator.uniform((-50, -9, -9), (50, 9, 9), (250, 3)):
        z, y, x = (
            torch.exp(-(((axis - c) / w) ** 2) / 2) for axis, c, w in zip(grid, centre, (7, 0.5, 0.5), strict=True)
        )
        volume += 12 * z[:, None, None] * y[:, None] * x
    raster = (torch.arange(30, dtype=torch.float64) - 14.5) * 0.42
    positions = torch.cartesian_prod(raster, raster)[::every]
    pose = torch.zeros(1, 3, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    expected = model_intensity(volume, probe, positions, pose[0][0], pose[1][0], geometry)
    data = torch.from_numpy(generator.poisson(expected.numpy())).double()
    probes = [probe.to(torch.complex64)]
    state = TomographyState.initial(geometry.volume_shape, torch.float32, probes, [positions], *pose)
    records: list[EpochRecord] = []
    reconstruct(state, [Patterns(data.float())], geometry, DEFAULTS, Mesh.serial(), records.append)
    losses = [record.loss for record in records]
    assert losses == sorted(losses, reverse=True) and not any(record.undone for record in records)
    vacuum, truth = (
        ((data.sqrt() - model_intensity(v, probe, positions, pose[0][0], pose[1][0], geometry).sqrt()) ** 2).sum()
        / data.sum()
        for v in (0 * volume, volume)
    )
    assert losses[-1] < truth + 0.2 * (vacuum - truth)


def test_a_window_between_pixels_counts_for_its_neighbours():
    shifts = torch.tensor([[0.25, -0.4], [-0.5, 0.5]], dtype=torch.float64)
    density = position_density(torch.tensor([[2, 3], [0, 4]]), shifts, (4, 5))
    expected = torch.zeros(4, 5, dtype=torch.float64)
    expected[2, 2], expected[2, 3], expected[3, 2], expected[3, 3] = 0.75 * 0.4, 0.75 * 0.6, 0.25 * 0.4, 0.25 * 0.6
    for y, x in ((3, 4), (3, 0), (0, 4), (0, 0)):
        expected[y, x] += 0.25
    torch.testing.assert_close(density, expected)


def test_dim_pixels_take_smaller_steps_than_newton_and_dark_ones_stay_finite():
    geometry = replace(GEOMETRY, volume_shape=(3, 1, 3), num_slices=1, voxel_size=(0.2, 1.0, 1.0))
    gradient = torch.ones(2, 1, 3, dtype=torch.float64)
    illumination = torch.tensor([[[200.0, 2, 0]], [[0.0, 50.0, 10.0]]], dtype=torch.float64)
    steps = newton_step(gradient, illumination, geometry)
    unit = FRACTION_OF_BOUND * 2.0 * geometry.sigma**2 * 3 * 0.04
    dim = ILLUMINATION_FLOOR * 50  # the smallest maximum of a slice
    expected = torch.tensor([[200, dim, dim], [dim, 50, dim]], dtype=torch.float64).mul(unit).reciprocal()
    torch.testing.assert_close(steps, expected[:, None])
    assert torch.isfinite(newton_step(gradient, torch.zeros_like(illumination), geometry)).all()


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
def test_pose_hessian_of_a_smooth_potential_is_the_illuminated_product_of_the_image_derivatives(dtype):
    shape, voxel, factor = (17, 20, 26), (0.5, 0.4, 0.3), 0.7
    z, y, x = ((torch.arange(n).double() - n // 2) * d for n, d in zip(shape, voxel, strict=True))
    volume = sum(
        torch.exp(-((z[:, None, None] - a) ** 2 + (y[:, None] - b) ** 2 + (x - c) ** 2) / (2 * 0.6**2))
        for a, b, c in ((0.5, -0.7, 0.9), (-0.6, 0.9, -0.8))
    ).to(dtype) * (1 + 0.4j if dtype.is_complex else 1)
    illumination = random_tensor(*shape[1:], seed=8).square()
    pose = torch.tensor([4.0, -27.0, 11.0, 0.37, -0.26]).double()

    def image(numbers):
        map_ = sampling_map(numbers[:3], numbers[3:], voxel)
        return bin_slices(rotate_volume(volume, map_), 1, voxel[0])[0]

    steps = 1e-4 * torch.eye(5, dtype=torch.float64)
    derivatives = torch.stack([(image(pose + step) - image(pose - step)) / 2e-4 for step in steps])
    expected = factor * torch.einsum("pyx,yx,qyx->pq", derivatives.conj(), illumination.to(dtype), derivatives).real
    map_ = sampling_map(pose[:3], pose[3:], voxel)
    _, moments = pose_derivatives(volume, map_, torch.zeros(1, *shape[1:], dtype=dtype), voxel[0])
    jacobian = torch.autograd.functional.jacobian(lambda p: sampling_map(p[:3], p[3:], voxel), pose)
    found = pose_hessian(moments, jacobian, illumination, factor)
    scale = expected.diagonal().sqrt()
    assert ((found - expected) / scale / scale[:, None]).abs().max() < 0.03
