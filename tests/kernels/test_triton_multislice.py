"""Multislice in Triton against plain torch in double precision; without a GPU, Triton's interpreter runs it."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checks import random_tensor, relative_error
from multislice_problems import (
    DEVICE,
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

from dptt.kernels import multislice
from dptt.kernels.periodic import PeriodicImage

if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # before the first import
kernels = pytest.importorskip("dptt.kernels.triton").loaded()
pytestmark = pytest.mark.skipif(kernels is None, reason="needs Triton")


@pytest.mark.parametrize(("loss", "masked"), [("amplitude", False), ("amplitude", True), ("poisson", True)])
@pytest.mark.parametrize("name", SHAPES)
def test_gradients_keep_five_digits_on_noisy_data(name, loss, masked):
    given = batch(name, loss, masked=masked)
    expected = multislice.multislice_gradient(given)
    assert_same(kernels.multislice.multislice_gradient(single(given)), expected, 1e-5)


@pytest.mark.parametrize("name", SHAPES)
def test_displaced_patterns_keep_five_digits(name):
    given = displaced(batch(name, "poisson", masked=True))
    expected = multislice.multislice_gradient(given)
    assert_same(kernels.multislice.multislice_gradient(single(given)), expected, 1e-5)
    assert relative_error(kernels.multislice.multislice_loss(single(given)).cpu(), expected.loss) < 1e-5


@pytest.mark.parametrize("loss", ["amplitude", "poisson"])
def test_a_detector_that_blurs_keeps_five_digits(loss):
    given = blurred(displaced(batch("odd and wide", loss, masked=True)))
    expected = multislice.multislice_gradient(given)
    assert_same(kernels.multislice.multislice_gradient(single(given), chunk_bytes=40_000), expected, 1e-5)
    assert relative_error(kernels.multislice.multislice_loss(single(given)).cpu(), expected.loss) < 1e-5


@pytest.mark.parametrize("loss", ["amplitude", "poisson"])
def test_single_precision_is_enough_near_convergence(loss):
    given = near_convergence("odd and wide", loss)
    expected = multislice.multislice_gradient(given)
    assert_same(kernels.multislice.multislice_gradient(single(given)), expected, 5e-4)


def test_chunks_change_nothing_but_the_order_of_sums():
    given = batch("odd and wide", "poisson", num_positions=7)
    expected = multislice.multislice_gradient(given)
    assert_same(kernels.multislice.multislice_gradient(single(given), chunk_bytes=40_000), expected, 1e-5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64, torch.float32, torch.float16])
def test_counts_of_any_type_are_the_same_electrons(dtype):
    given = single(batch("a line"))
    other = replace(given, measured=given.measured.to(dtype))
    first, second = (kernels.multislice.multislice_gradient(b) for b in (given, other))
    assert all(torch.equal(getattr(first, name), getattr(second, name)) for name in RESULTS)


def test_masked_pixels_may_be_anything():
    given = single(batch("odd and wide", "poisson", masked=True))
    spoilt = given.measured.float().masked_fill(~mask_of("odd and wide").to(DEVICE), torch.nan)
    first = kernels.multislice.multislice_gradient(given)
    second = kernels.multislice.multislice_gradient(replace(given, measured=spoilt))
    assert all(torch.equal(getattr(first, name), getattr(second, name)) for name in RESULTS)


def test_a_bad_number_is_seen_in_the_loss():
    given = single(batch("odd and wide"))
    spoilt = given.measured.float()
    spoilt[3, 2, 1] = torch.nan
    assert kernels.multislice.multislice_gradient(replace(given, measured=spoilt)).loss.isnan()


def test_repeating_gives_the_same_bits():
    given = single(batch("odd and wide"))
    first, second = (kernels.multislice.multislice_gradient(given) for _ in range(2))
    assert all(torch.equal(getattr(first, name), getattr(second, name)) for name in RESULTS)


@pytest.mark.parametrize("num_positions", [0, 1, 6])
def test_loss_alone_is_the_loss_of_the_gradient(num_positions):
    given = single(batch("one slice, one mode", "poisson", num_positions))
    whole = kernels.multislice.multislice_gradient(given)
    assert torch.equal(kernels.multislice.multislice_loss(given), whole.loss)
    assert len(whole.shifts) == num_positions
    assert num_positions or all((getattr(whole, name) == 0).all() for name in RESULTS)


def test_a_window_larger_than_the_image_is_refused():
    given = single(batch("odd and wide"))
    with pytest.raises(ValueError, match=r"window \(9, 14\) is larger than the image \(8, 22\)"):
        kernels.multislice.multislice_gradient(replace(given, transmission=given.transmission[:, :8]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_windows_are_added_where_they_were_cut_across_the_border(dtype):
    from dptt.kernels.triton.windows import accumulate_

    image, window = (37, 70), (11, 33)  # several tiles
    corners = torch.tensor([[0, 0], [36, 69], [30, 5], [7, 60], [7, 60], [26, 37]])
    patches = random_tensor(2, len(corners), *window, seed=1, dtype=dtype)
    start = random_tensor(2, *image, seed=2, dtype=dtype)
    periodic = PeriodicImage(start.to(torch.promote_types(dtype, torch.float64)), window)
    added = torch.zeros_like(periodic.extended)
    periodic.accumulate(added, patches.to(added.dtype), corners)
    result = start.clone().to(DEVICE)
    accumulate_(result, patches.to(DEVICE), corners.to(DEVICE))
    assert relative_error(result.cpu(), start.to(added.dtype) + periodic.fold(added)) < 1e-6


@pytest.mark.thorough
def test_every_kernel_can_be_compiled_for_a_gpu_that_is_not_there(tmp_path):
    script = Path(__file__).with_name("compile_triton.py")
    environment = {name: text for name, text in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()[-1].split()) == 1 + 13
