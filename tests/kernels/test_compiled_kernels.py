"""The kernels compiled for a CPU against plain torch in double precision, which is tested against the model."""

from dataclasses import replace

import pytest
import torch
from checks import assert_adjoint, random_tensor
from multislice_problems import (
    PRIME,
    RESULTS,
    SHAPES,
    assert_same,
    batch,
    blurred,
    displaced,
    mask_of,
    near_convergence,
    single,
)

from dptt.kernels import SlabRows, Thresholds, cpu, multislice, pose, rotation, source_rows, volume_step
from dptt.physics.rotation import sampling_map

compiled = cpu.loaded()
pytestmark = pytest.mark.skipif(compiled is None, reason="needs numba")


@pytest.fixture(params=[1, 2, 3], ids="{} threads".format)
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("loss", ["amplitude", "poisson"])
@pytest.mark.parametrize("masked", [False, True], ids=["all pixels", "masked"])
@pytest.mark.parametrize("name", SHAPES | PRIME)
def test_gradients_are_those_of_plain_torch(name, loss, masked, threads):
    given = batch(name, loss, masked=masked)
    expected = multislice.multislice_gradient(given)
    assert_same(compiled.multislice.multislice_gradient(given), expected, 1e-13, torch.complex128)


@pytest.mark.parametrize("name", SHAPES | PRIME)
def test_displaced_patterns_are_those_of_plain_torch(name):
    given = displaced(batch(name, "poisson", masked=True))
    expected = multislice.multislice_gradient(given)
    assert_same(compiled.multislice.multislice_gradient(given), expected, 1e-13, torch.complex128)
    torch.testing.assert_close(compiled.multislice.multislice_loss(given), expected.loss, rtol=1e-13, atol=0)


@pytest.mark.parametrize("variance", [0.3, 6.0], ids=["a little", "beyond the window"])
@pytest.mark.parametrize("loss", ["amplitude", "poisson"])
@pytest.mark.parametrize("name", SHAPES | PRIME)
def test_a_detector_that_blurs_is_that_of_plain_torch(name, loss, variance):
    given = blurred(displaced(batch(name, loss, masked=True)), variance)
    expected = multislice.multislice_gradient(given)
    assert_same(compiled.multislice.multislice_gradient(given), expected, 1e-13, torch.complex128)
    assert_same(compiled.multislice.multislice_gradient(single(given, "cpu")), expected, 1e-5)
    torch.testing.assert_close(compiled.multislice.multislice_loss(given), expected.loss, rtol=1e-13, atol=0)


@pytest.mark.parametrize("loss", ["amplitude", "poisson"])
@pytest.mark.parametrize("name", SHAPES | PRIME)
def test_single_precision_keeps_five_digits_on_noisy_data(name, loss, threads):
    given = batch(name, loss)
    expected = multislice.multislice_gradient(given)
    result = compiled.multislice.multislice_gradient(single(given, "cpu"))
    assert result.loss.dtype == torch.float32
    assert_same(result, expected, 1e-5)


@pytest.mark.parametrize("loss", ["amplitude", "poisson"])
def test_single_precision_is_enough_near_convergence_on_noise_free_data(loss):
    given = near_convergence("odd and wide", loss)
    expected = multislice.multislice_gradient(given)
    assert_same(compiled.multislice.multislice_gradient(single(given, "cpu")), expected, 5e-4)


def test_masked_pixels_may_be_anything():
    name = "odd and wide"
    given = batch(name, "poisson", masked=True)
    spoilt = replace(given, measured=given.measured.double().masked_fill(~mask_of(name), torch.nan))
    expected = compiled.multislice.multislice_gradient(given)
    assert_same(compiled.multislice.multislice_gradient(spoilt), expected, 1e-15, torch.complex128)


@pytest.mark.parametrize("double", [True, False], ids=["double", "single"])
@pytest.mark.parametrize("loss", ["amplitude", "poisson"])
def test_a_bad_number_is_seen_in_the_loss(loss, double):
    given = batch("odd and wide", loss)
    given = given if double else single(given, "cpu")
    spoilt = given.measured.to(torch.float64)
    spoilt[3, 2, 1] = torch.nan
    assert compiled.multislice.multislice_gradient(replace(given, measured=spoilt)).loss.isnan()


def test_repeating_gives_the_same_bits(threads):
    given = single(batch("odd and wide"), "cpu")
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


def test_patterns_that_are_turned_into_electrons_a_few_at_a_time_are_those_of_their_positions(monkeypatch, threads):
    given = batch("odd and wide", num_positions=17)
    expected = multislice.multislice_gradient(given)
    monkeypatch.setattr(compiled.multislice, "_BYTES_AT_ONCE", 2 * 9 * 14 * 8)
    assert_same(compiled.multislice.multislice_gradient(given), expected, 1e-13, torch.complex128)
    torch.testing.assert_close(compiled.multislice.multislice_loss(given), expected.loss, rtol=1e-13, atol=0)


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
    return rotation.project_slices(volume, map_, num_slices, VOXEL[0], rows, compiled.rotation)


def turned_back(slices, map_, shape, rows):
    return rotation.backproject_slices(slices, map_, shape, VOXEL[0], rows, by=compiled.rotation)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", [SHAPE, (9, 4, 11), (3, 8, 5)], ids=str)
@pytest.mark.parametrize("pose", POSES)
def test_projection_and_backprojection_are_those_of_plain_torch(pose, shape, dtype, threads):
    """To the rounding of sines that follow from one another."""
    map_, rows = pose_map(pose), rotation.all_rows(shape[1])
    volume = random_tensor(*shape, seed=1, dtype=dtype)
    slices = random_tensor(3, *shape[1:], seed=2, dtype=dtype)
    forward, backward = turned(volume, map_, 3, rows), turned_back(slices, map_, shape, rows)
    expected = rotation.project_slices(volume, map_, 3, VOXEL[0])
    torch.testing.assert_close(forward, expected, rtol=0, atol=1e-12)
    expected = rotation.backproject_slices(slices, map_, shape, VOXEL[0])
    torch.testing.assert_close(backward, expected, rtol=0, atol=1e-12)


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
@pytest.mark.parametrize("name", POSES)
def test_derivatives_by_the_pose_are_those_of_plain_torch(name, dtype, threads):
    map_, volume = pose_map(name), random_tensor(*SHAPE, seed=1, dtype=dtype)
    residual = random_tensor(3, *SHAPE[1:], seed=2, dtype=dtype)
    for target in (range(7), range(2, 5)):
        rows = SlabRows(7, range(7), target)
        mine = (volume, map_, residual[:, target.start : target.stop], VOXEL[0])
        found = pose.pose_derivatives(*mine, rows, by=compiled.rotation)
        for one, expected in zip(found, pose.pose_derivatives(*mine, rows), strict=True):
            torch.testing.assert_close(one, expected, rtol=1e-10, atol=1e-10)


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
