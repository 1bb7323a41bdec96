"""The kernels compiled for a CPU against plain torch in double precision, which is tested against the model."""

from dataclasses import fields, replace

import pytest
import torch
from checks import assert_adjoint, random_tensor, relative_error

from dptt.kernels import Batch, SlabRows, Thresholds, cpu, dispatch, multislice, rotation, source_rows, volume_step
from dptt.model.losses import Misfit
from dptt.physics.rotation import sampling_map

compiled = cpu.loaded()
pytestmark = pytest.mark.skipif(compiled is None, reason="needs numba and a PyTorch with MKL")
RESULTS = [field.name for field in fields(multislice.MultisliceGradient)]
SHAPES = {
    "odd and wide": ((13, 22), (9, 14), 3, 2),
    "one slice, one mode": ((31, 17), (8, 11), 1, 1),
    "as large as the image": ((12, 15), (12, 15), 2, 3),
    "prime and single": ((20, 20), (1, 17), 4, 1),
}
"""Image, window, slices, modes."""


@pytest.fixture(params=[1, 2, 3], ids="{} threads".format)
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def batch(name, loss="amplitude", num_positions=21, single=False, masked=False, scale=1.0):
    """Return positions with strong phases, corners far outside, counts of a detector."""
    image, window, num_slices, num_modes = SHAPES[name]
    phase = 0.4 * random_tensor(num_slices, *image, seed=1)
    transmission = torch.polar(1 - 0.1 * random_tensor(num_slices, *image, seed=2).abs(), phase)
    probe = random_tensor(num_modes, *window, seed=3, dtype=torch.complex128)
    generator = torch.Generator().manual_seed(4)
    corners = torch.randint(-50, 90, (num_positions, 2), generator=generator)
    shifts = torch.rand(num_positions, 2, generator=generator).double() - 0.5
    counts = torch.randint(0, 9, (num_positions, *window), generator=generator).to(torch.uint16)
    propagator = torch.polar(torch.ones(window).double(), 2 * random_tensor(*window, seed=5))
    if single:
        transmission, probe, propagator = (t.to(torch.complex64) for t in (transmission, probe, propagator))
        shifts = shifts.float()
    misfit = Misfit(loss, 1e-2, mask_of(name) if masked else None)
    return Batch(transmission, probe, corners, shifts, counts, propagator, misfit, scale)


def mask_of(name):
    mask = torch.ones(SHAPES[name][1], dtype=torch.bool)
    mask[0, -1] = mask[-1, 3] = False
    return mask


def assert_same(result, expected, tolerance):
    for name in RESULTS:
        mine, theirs = getattr(result, name), getattr(expected, name)
        assert mine.shape == theirs.shape
        assert relative_error(mine, theirs) < tolerance, name


@pytest.mark.parametrize("loss", ["amplitude", "poisson"])
@pytest.mark.parametrize("masked", [False, True], ids=["all pixels", "masked"])
@pytest.mark.parametrize("name", SHAPES)
def test_gradients_are_those_of_plain_torch(name, loss, masked, threads):
    given = batch(name, loss, masked=masked, scale=0.3)
    assert_same(compiled.multislice.multislice_gradient(given), multislice.multislice_gradient(given), 1e-13)


@pytest.mark.parametrize("loss", ["amplitude", "poisson"])
@pytest.mark.parametrize("name", SHAPES)
def test_single_precision_keeps_five_digits_on_noisy_data(name, loss, threads):
    expected = multislice.multislice_gradient(batch(name, loss, scale=0.3))
    result = compiled.multislice.multislice_gradient(batch(name, loss, single=True, scale=0.3))
    assert result.transmission.dtype == torch.complex64 and result.loss.dtype == torch.float32
    assert_same(result, expected, 1e-5)


def intensities(name):
    """Return what a perfect detector measures: the far field whose loss against nothing is the intensity."""
    found = []

    def keep(model, measured):
        found.append(model.clone())
        return model.sum(), torch.ones_like(model)

    multislice.multislice_loss(replace(batch(name), loss=keep))
    return torch.cat(found)


@pytest.mark.parametrize("loss", ["amplitude", "poisson"])
def test_single_precision_is_enough_near_convergence_on_noise_free_data(loss):
    name = "odd and wide"
    perfect = intensities(name)
    gradients = []
    for single, kernel in ((False, multislice), (True, compiled.multislice)):
        given = batch(name, single=single)
        near = given.transmission * torch.polar(torch.ones(()), torch.tensor(0.01)) ** (torch.arange(22) % 3)
        near = replace(
            given,
            transmission=near.to(given.probe.dtype),
            measured=perfect.float() if single else perfect,
            loss=Misfit(loss, 1e-6),
        )
        gradients.append(kernel.multislice_gradient(near))
    assert_same(gradients[1], gradients[0], 5e-4)


def test_masked_pixels_may_be_anything():
    name = "odd and wide"
    given = batch(name, "poisson", masked=True)
    spoilt = replace(given, measured=given.measured.double().masked_fill(~mask_of(name), torch.nan))
    expected = compiled.multislice.multislice_gradient(given)
    assert_same(compiled.multislice.multislice_gradient(spoilt), expected, 1e-15)


@pytest.mark.parametrize("single", [False, True], ids=["double", "single"])
@pytest.mark.parametrize("loss", ["amplitude", "poisson"])
def test_a_bad_number_is_seen_in_the_loss(loss, single):
    given = batch("odd and wide", loss, single=single)
    spoilt = given.measured.to(torch.float64)
    spoilt[3, 2, 1] = torch.nan
    assert compiled.multislice.multislice_gradient(replace(given, measured=spoilt)).loss.isnan()


def test_repeating_gives_the_same_bits(threads):
    given = batch("odd and wide", single=True)
    first, second = (compiled.multislice.multislice_gradient(given) for _ in range(2))
    assert all(torch.equal(getattr(first, name), getattr(second, name)) for name in RESULTS)


@pytest.mark.parametrize("num_positions", [0, 1, 17])
def test_loss_alone_is_the_loss_of_the_gradient(num_positions, threads):
    given = batch("odd and wide", "poisson", num_positions)
    alone = compiled.multislice.multislice_loss(given)
    whole = compiled.multislice.multislice_gradient(given)
    torch.testing.assert_close(alone, whole.loss, rtol=1e-14, atol=0)
    assert len(whole.shifts) == num_positions
    assert num_positions or all((getattr(whole, name) == 0).all() for name in RESULTS)


def test_the_choice_of_kernel_is_by_type_size_and_loss(monkeypatch):
    called = []

    def remember(given):
        called.append(given)
        return multislice.multislice_gradient(given)

    monkeypatch.setattr(compiled.multislice, "multislice_gradient", remember)
    small = batch("odd and wide", single=True)
    dispatch.multislice_gradient(small)
    assert not called
    monkeypatch.setattr(dispatch, "_WORTH_WAVES", 1)
    dispatch.multislice_gradient(batch("odd and wide"))
    dispatch.multislice_gradient(replace(small, loss=lambda model, measured: small.loss(model, measured)))
    assert not called
    dispatch.multislice_gradient(small)
    assert len(called) == 1


VOXEL, SHAPE = (0.5, 0.4, 0.3), (6, 7, 10)
POSES = {
    "tilted": ((4.0, -27.0, 11.0), (0.37, -0.26)),
    "about the axis": ((0.0, 30.0, 0.0), (0.0, 0.0)),
    "on edge": ((-3.0, 88.0, -95.0), (-0.1, 0.9)),
    "half outside": ((10.0, 40.0, 0.0), (0.3, 1.7)),
    "far away": ((10.0, 40.0, 0.0), (90.0, 0.0)),
}


def pose_map(pose):
    return sampling_map(*(torch.tensor(numbers).double() for numbers in POSES[pose]), VOXEL)


def turned(volume, map_, num_slices, rows):
    return compiled.rotation.project_slices(volume, map_, num_slices, VOXEL[0], rows.height, rows.source, rows.target)


def turned_back(slices, map_, shape, rows):
    return compiled.rotation.backproject_slices(slices, map_, shape, VOXEL[0], rows.source, rows.target)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", [SHAPE, (9, 4, 11), (3, 8, 5)], ids=str)
@pytest.mark.parametrize("pose", POSES)
def test_projection_and_backprojection_are_those_of_plain_torch(pose, shape, dtype, threads):
    map_, rows = pose_map(pose), rotation.all_rows(shape[1])
    volume = random_tensor(*shape, seed=1, dtype=dtype)
    slices = random_tensor(3, *shape[1:], seed=2, dtype=dtype)
    forward, backward = turned(volume, map_, 3, rows), turned_back(slices, map_, shape, rows)
    expected = rotation.project_slices(volume, map_, 3, VOXEL[0])
    torch.testing.assert_close(forward, expected, rtol=0, atol=1e-14)
    expected = rotation.backproject_slices(slices, map_, shape, VOXEL[0])
    torch.testing.assert_close(backward, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("pose", [pose for pose in POSES if pose != "far away"])
def test_backprojection_is_the_adjoint_of_projection_in_single_precision(pose, dtype):
    shape = (21, 17, 26)
    map_, rows = pose_map(pose), rotation.all_rows(shape[1])
    assert_adjoint(
        lambda volume: turned(volume, map_, 7, rows),
        lambda slices: turned_back(slices, map_, shape, rows),
        random_tensor(*shape, seed=3, dtype=dtype),
        rtol=1e-6,
    )


@pytest.mark.parametrize("pose", ["tilted", "about the axis", "half outside"])
def test_slabs_are_rows_of_the_whole(pose):
    shape, map_ = (6, 11, 10), pose_map(pose)
    volume = random_tensor(*shape, seed=4)
    slices = random_tensor(3, *shape[1:], seed=5)
    whole = turned(volume, map_, 3, rotation.all_rows(11))
    sum_ = torch.zeros(shape, dtype=torch.float64)
    for target in (range(0, 4), range(4, 5), range(5, 11)):
        rows = SlabRows(11, source_rows(map_, target, shape), target)
        inside = slice(rows.source.start, rows.source.stop)
        mine = slice(target.start, target.stop)
        piece = turned(volume[:, inside], map_, 3, rows)
        torch.testing.assert_close(piece, whole[:, mine], rtol=0, atol=1e-14)
        sum_[:, inside] += turned_back(slices[:, mine], map_, shape, rows)
    torch.testing.assert_close(sum_, turned_back(slices, map_, shape, rotation.all_rows(11)), rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("pose", [pose for pose in POSES if pose != "about the axis"])  # there slopes are not unique
def test_derivatives_by_the_pose_are_those_of_plain_torch(pose, dtype, threads):
    map_, volume = pose_map(pose), random_tensor(*SHAPE, seed=1, dtype=dtype)
    residual = random_tensor(3, *SHAPE[1:], seed=2, dtype=dtype)
    for target in (range(7), range(2, 5)):
        rows = SlabRows(7, range(7), target)
        mine = (volume, map_, residual[:, target.start : target.stop], VOXEL[0])
        found = compiled.pose_derivatives.pose_derivatives(*mine, 7, range(7), target)
        for one, expected in zip(found, rotation.pose_derivatives(*mine, rows), strict=True):
            torch.testing.assert_close(one, expected, rtol=1e-12, atol=1e-13)


def test_voxels_are_the_same_bits_on_any_number_of_threads():
    map_, rows = pose_map("tilted"), rotation.all_rows(7)
    slices = random_tensor(3, *SHAPE[1:], seed=6)
    before, found = torch.get_num_threads(), []
    for number in (1, 3):
        torch.set_num_threads(number)
        found.append(turned_back(slices, map_, SHAPE, rows))
    torch.set_num_threads(before)
    assert torch.equal(*found)


THRESHOLDS = Thresholds(negative=0.7, shrinkage=0.2, negative_absorption=1.0, absorption_shrinkage=0.1)


@pytest.mark.parametrize("thresholds", [THRESHOLDS, Thresholds(), Thresholds(shrinkage=0.5)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_a_step_of_the_volume_is_that_of_plain_torch(dtype, thresholds, threads):
    def moved(kernel):
        volume, velocity, update = (random_tensor(7, 3, 5, seed=seed, dtype=dtype) for seed in (1, 2, 3))
        sums = kernel.advance_(volume, velocity, update, 0.8, 0.3)
        kernel.threshold_(volume, thresholds)
        return volume, velocity, sums

    for mine, theirs in zip(moved(compiled.volume_step), moved(volume_step), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-13, atol=1e-15)


def test_a_bad_number_in_the_volume_stays_one():
    volume = random_tensor(4, 3, 5, seed=1)
    volume[2, 1, 3] = torch.nan
    compiled.volume_step.threshold_(volume, THRESHOLDS)
    assert volume.isnan().sum() == 1
    assert compiled.volume_step.advance_(volume, volume.clone(), volume, 0.5, 0.1).isnan().all()
