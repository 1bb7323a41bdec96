"""The analytic adjoint of [P] eq. 18-19 against autograd through the whole reference model `model.forward`."""

from dataclasses import replace

import pytest
import torch
from checks import peak_memory, random_tensor, relative_error

from dptt.kernels import (
    Batch,
    MultisliceGradient,
    backproject_slices,
    multislice_gradient,
    multislice_loss,
    pose_derivatives,
    project_slices,
)
from dptt.model.forward import Geometry, model_intensity, tilted_slices
from dptt.model.losses import Misfit
from dptt.physics.patches import split_positions
from dptt.physics.potential import transmission, transmission_gradient
from dptt.physics.probe import make_probe, shift_probe
from dptt.physics.rotation import sampling_map

GEOMETRY = Geometry(200e3, (6, 13, 16), (0.8, 0.45, 0.4), (9, 6), 3)
POSE = (torch.tensor([3.0, -22.0, 8.0]).double(), torch.tensor([0.31, -0.17]).double())
POSITIONS = 0.5 * random_tensor(7, 2, seed=1)
ACROSS_THE_BORDER = torch.tensor([[2.9, 0.1], [-2.7, -3.3], [0.2, 9.9]]).double()
"""Scan positions [Å] whose windows reach beyond the image of 5.85 x 6.4 Å and wrap around it."""


def probe_modes(num_modes, geometry=GEOMETRY):
    noise = random_tensor(num_modes, *geometry.window_shape, seed=2, dtype=torch.complex128)
    return noise * torch.linspace(3, 1, num_modes)[:, None, None]


def potential(kind, seed=3, geometry=GEOMETRY):
    """A specimen of some 0.5 rad a slice; absorbing if complex."""
    real = 500 * random_tensor(*geometry.volume_shape, seed=seed)
    return (
        torch.complex(real, 100 * random_tensor(*geometry.volume_shape, seed=seed + 1)) if kind == "complex" else real
    )


def counts(probe, num_positions, window, seed=5):
    mean = probe.abs().square().sum() / (window[0] * window[1])
    rates = mean * torch.ones(num_positions, *window, dtype=torch.float64)
    return torch.poisson(rates, generator=torch.Generator().manual_seed(seed))


def fast(
    volume, probe, positions, measured, misfit, geometry=GEOMETRY, pose=POSE, scale=1.0, displaced=None, **options
):
    """Return the kernel's gradient and, from it, dL/dV of the volume, dL/dp [1/Å] and dL/d(pose)."""
    map_ = sampling_map(*pose, geometry.voxel_size)
    real = volume.real.dtype
    slices = project_slices(volume, map_, geometry.num_slices, geometry.voxel_size[0])
    transmitted = transmission(slices, geometry.sigma).to(probe.dtype)
    corners, shifts = split_positions(positions, geometry.sampling, geometry.volume_shape[1:], geometry.window_shape)
    propagator = geometry.propagator(geometry.slice_thickness, probe.dtype)
    batch = Batch(transmitted, probe, corners, shifts.to(real), measured, propagator, misfit, scale, displaced)
    result = multislice_gradient(batch, **options)
    by_slices = transmission_gradient(result.transmission, transmitted, geometry.sigma)
    by_slices = by_slices if volume.is_complex() else by_slices.real
    by_volume = backproject_slices(by_slices, map_, geometry.volume_shape, geometry.voxel_size[0])
    by_map, _ = pose_derivatives(volume, map_, by_slices, geometry.voxel_size[0])
    jacobians = torch.autograd.functional.jacobian(lambda a, t: sampling_map(a, t, geometry.voxel_size), pose)
    by_pose = [torch.einsum("ij,ijp->p", by_map, j) for j in jacobians]
    by_positions = result.shifts / torch.tensor(geometry.sampling, dtype=real)
    return result, [by_volume, result.probe, by_positions, *by_pose]


def by_autograd(volume, probe, positions, measured, misfit, geometry=GEOMETRY, pose=POSE, displaced=None):
    variables = [x.clone().requires_grad_() for x in (volume, probe, positions, *pose)]
    loss, _ = misfit(model_intensity(*variables, geometry, displaced), measured)
    return loss.detach(), torch.autograd.grad(loss, variables)


def assert_agrees_with_autograd(kind, num_modes, positions, misfit, geometry=GEOMETRY, displaced=None, **options):
    volume, probe = potential(kind, geometry=geometry), probe_modes(num_modes, geometry)
    measured = counts(probe, len(positions), geometry.window_shape)
    result, ours = fast(volume, probe, positions, measured, misfit, geometry, displaced=displaced, **options)
    loss, theirs = by_autograd(volume, probe, positions, measured, misfit, geometry, displaced=displaced)
    torch.testing.assert_close(result.loss, loss, rtol=1e-12, atol=0)
    for name, mine, expected in zip(("volume", "probe", "positions", "angles", "tau"), ours, theirs, strict=True):
        assert relative_error(mine, expected) < 1e-11, name


def valid_pixels(window):
    mask = torch.ones(window, dtype=torch.bool)
    mask[0, 0] = mask[-2, 1] = mask[3] = False
    return mask


@pytest.mark.parametrize("masked", [False, True], ids=["all pixels", "masked"])
@pytest.mark.parametrize("loss", ["amplitude", "poisson"])
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_gradients_are_those_of_the_reference_model(kind, loss, masked):
    misfit = Misfit(loss, 1e-3, valid_pixels(GEOMETRY.window_shape) if masked else None)
    assert_agrees_with_autograd(kind, 2, POSITIONS, misfit)


def test_gradients_hold_for_patterns_that_the_scan_displaces():
    displaced = 1.5 * random_tensor(len(POSITIONS), 2, seed=11)
    assert_agrees_with_autograd("complex", 2, POSITIONS, Misfit("amplitude", 1e-3), displaced=displaced)


@pytest.mark.parametrize("loss", ["amplitude", "poisson"])
def test_gradients_hold_for_a_detector_that_blurs(loss):
    misfit = Misfit(loss, 1e-3, valid_pixels(GEOMETRY.window_shape), blur=0.4)
    assert_agrees_with_autograd("complex", 2, POSITIONS, misfit)


def test_gradients_hold_for_windows_that_wrap_around_the_image():
    assert_agrees_with_autograd("real", 1, ACROSS_THE_BORDER, Misfit("amplitude", 1e-3))


@pytest.mark.parametrize("window,num_slices", [((9, 7), 6), ((8, 6), 1), ((13, 16), 2)])
def test_gradients_hold_for_any_window_and_slicing(window, num_slices):
    """Odd, even, as large as the image; a single slice."""
    geometry = replace(GEOMETRY, window_shape=window, num_slices=num_slices)
    assert_agrees_with_autograd("complex", 3, POSITIONS, Misfit("poisson", 1e-2), geometry)


@pytest.fixture(scope="module")
def example():
    probe = probe_modes(2)
    return potential("real"), probe, POSITIONS, counts(probe, len(POSITIONS), GEOMETRY.window_shape)


MISFIT = Misfit("amplitude", 1e-3)


def fields(result: MultisliceGradient):
    return {name: getattr(result, name) for name in ("loss", "transmission", "probe", "shifts", "illumination")}


@pytest.mark.parametrize("chunk_bytes", [1, 20_000])
def test_cutting_the_batch_into_chunks_changes_nothing(example, chunk_bytes):
    whole, in_chunks = fast(*example, MISFIT)[0], fast(*example, MISFIT, chunk_bytes=chunk_bytes)[0]
    for name, expected in fields(whole).items():
        assert relative_error(getattr(in_chunks, name), expected) < 1e-13, name


def test_repeating_gives_the_same_bits(example):
    first, second = (fields(fast(*example, MISFIT, chunk_bytes=20_000)[0]) for _ in range(2))
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_the_gradient_of_a_batch_is_the_sum_over_its_parts(example):
    volume, probe, positions, measured = example
    whole = fast(*example, MISFIT)[0]
    parts = [fast(volume, probe, positions[s], measured[s], MISFIT)[0] for s in (slice(0, 3), slice(3, None))]
    for name, expected in fields(whole).items():
        joined = [getattr(part, name) for part in parts]
        assert relative_error(torch.cat(joined) if name == "shifts" else sum(joined), expected) < 1e-13, name


def test_an_empty_batch_adds_nothing(example):
    volume, probe, positions, measured = example
    result = fast(volume, probe, positions[:0], measured[:0], MISFIT)[0]
    assert result.shifts.shape == (0, 2)
    assert result.probe.shape == probe.shape and result.transmission.shape == (3, 13, 16)
    assert all((value == 0).all() for value in fields(result).values())


def test_illumination_is_the_electrons_that_fell_on_each_pixel(example):
    volume, probe, *_ = example
    positions = torch.cat([POSITIONS, ACROSS_THE_BORDER])
    measured = counts(probe, len(positions), GEOMETRY.window_shape)
    corners, shifts = split_positions(positions, GEOMETRY.sampling, (13, 16), GEOMETRY.window_shape)
    density = shift_probe(probe, shifts[:, None, 0], shifts[:, None, 1]).abs().square().sum(1)
    expected = torch.zeros(13, 16).double()
    for patch, (top, left) in zip(density, corners.tolist(), strict=True):
        for y in range(patch.shape[0]):
            for x in range(patch.shape[1]):
                expected[(top + y) % 13, (left + x) % 16] += patch[y, x]
    illumination = fast(volume, probe, positions, measured, MISFIT)[0].illumination
    torch.testing.assert_close(illumination, expected, rtol=1e-12, atol=0)


def test_detector_counts_are_turned_into_electrons_by_their_scale(example):
    volume, probe, positions, measured = example
    counted = (4 * measured).to(torch.uint16)
    by_counts = fast(volume, probe, positions, counted, MISFIT, scale=0.25)[0]
    for name, expected in fields(fast(*example, MISFIT)[0]).items():
        assert torch.equal(getattr(by_counts, name), expected), name


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 25])
def test_loss_alone_is_the_loss_of_the_gradient(example, chunk_bytes):
    volume, probe, positions, measured = example
    transmitted = transmission(tilted_slices(volume, *POSE, GEOMETRY), GEOMETRY.sigma)
    corners, shifts = split_positions(positions, GEOMETRY.sampling, (13, 16), GEOMETRY.window_shape)
    propagator = GEOMETRY.propagator(GEOMETRY.slice_thickness, probe.dtype)
    batch = Batch(transmitted, probe, corners, shifts, measured, propagator, MISFIT, 0.5)
    alone = multislice_loss(batch, chunk_bytes)
    expected = fast(*example, MISFIT, scale=0.5)[0].loss
    torch.testing.assert_close(alone, expected, rtol=1e-13, atol=0)


def test_a_window_larger_than_the_image_is_refused(example):
    volume, _, positions, _ = example
    geometry = replace(GEOMETRY, window_shape=(14, 9))
    measured = torch.ones(len(positions), 14, 9).double()
    with pytest.raises(ValueError, match=r"probe window \(14, 9\) is larger than the image \(13, 16\)"):
        fast(volume, probe_modes(1, geometry), positions, measured, MISFIT, geometry)


ATOMIC = Geometry(200e3, (24, 40, 45), (1.0, 0.35, 0.3), (33, 28), 8)


def atoms_batch():
    """120 atoms of some 1 rad at most, a focused probe, 12 positions."""
    generator = torch.Generator().manual_seed(0)
    z, y, x = torch.meshgrid(
        *(
            (torch.arange(n).double() - n // 2) * d
            for n, d in zip(ATOMIC.volume_shape, ATOMIC.voxel_size, strict=True)
        ),
        indexing="ij",
    )
    volume = torch.zeros(ATOMIC.volume_shape, dtype=torch.float64)
    for cz, cy, cx in (torch.rand(120, 3, generator=generator).double() - 0.5) * torch.tensor([20, 10, 10]):
        volume += 300 * torch.exp(-((z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2) / (2 * 0.45**2))
    probe = make_probe(
        ATOMIC.window_shape,
        ATOMIC.sampling,
        wavelength=ATOMIC.wavelength,
        semiangle=22.0,
        aberrations={"C10": -80.0},
        electrons=1000.0,
    )
    return volume, probe[None], 0.7 * random_tensor(12, 2, seed=12)


def single_precision_errors(measured, volume, probe, positions):
    misfit = Misfit("amplitude", 1e-6)
    double = fast(volume, probe, positions, measured, misfit, ATOMIC)[0]
    arguments = (volume.float(), probe.to(torch.complex64), positions, measured.float())
    single = fast(*arguments, misfit, ATOMIC)[0]
    assert single.transmission.dtype == torch.complex64 and single.shifts.dtype == torch.float32
    return {name: relative_error(getattr(single, name), getattr(double, name)) for name in fields(double)}


def test_single_precision_keeps_six_digits_of_the_back_propagated_waves():
    """Against an empty pattern nothing cancels: the error is that of the arithmetic alone."""
    volume, probe, positions = atoms_batch()
    errors = single_precision_errors(torch.zeros(12, *ATOMIC.window_shape).double(), volume, probe, positions)
    assert max(errors[name] for name in ("loss", "transmission", "probe", "illumination")) < 1e-6


def test_single_precision_is_enough_for_noisy_data():
    volume, probe, positions = atoms_batch()
    rates = model_intensity(volume, probe, positions, *POSE, ATOMIC)
    noisy = torch.poisson(rates, generator=torch.Generator().manual_seed(13))
    assert max(single_precision_errors(noisy, volume, probe, positions).values()) < 1e-5


def test_single_precision_is_enough_near_convergence_on_noise_free_data():
    volume, probe, positions = atoms_batch()
    perfect = model_intensity(volume, probe, positions, *POSE, ATOMIC)
    assert max(single_precision_errors(perfect, 1.03 * volume, probe, positions).values()) < 5e-4


CHUNK = 24
"""Positions a chunk in the tests of memory."""


def peak_of_a_batch(num_positions):
    """Return the peak memory of a batch beyond the shift gradients it returns, and `chunk_bytes` [bytes]."""
    volume, probe, positions = atoms_batch()
    slices = project_slices(volume, sampling_map(*POSE, ATOMIC.voxel_size), 8, 1.0)
    corners, shifts = split_positions(positions, ATOMIC.sampling, (40, 45), ATOMIC.window_shape)
    measured = torch.ones(num_positions, *ATOMIC.window_shape, dtype=torch.int16)
    propagator = ATOMIC.propagator(ATOMIC.slice_thickness, torch.complex128)
    times = num_positions // len(corners)
    chunk_bytes = CHUNK * (8 + 4 + 2 * 8) * probe.nbytes
    batch = Batch(
        transmission(slices, ATOMIC.sigma),
        probe,
        corners.repeat(times, 1),
        shifts.repeat(times, 1),
        measured,
        propagator,
        Misfit("amplitude", 1e-6),
    )
    peak = peak_memory(lambda: multislice_gradient(batch, chunk_bytes))
    return peak - num_positions * shifts[0].nbytes, chunk_bytes


def test_memory_does_not_grow_with_the_batch():
    (few, _), (many, _) = peak_of_a_batch(2 * CHUNK), peak_of_a_batch(8 * CHUNK)
    assert many <= 1.001 * few


def test_memory_is_bounded_by_the_chunk_and_three_images():
    """The slices extended by one window, the accumulated gradient, and its folding."""
    peak, chunk_bytes = peak_of_a_batch(2 * CHUNK)
    extended = 16 * 8 * (40 + 33 - 1) * (45 + 28 - 1)
    assert peak < 1.1 * chunk_bytes + 3 * extended
