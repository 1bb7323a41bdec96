"""The fused kernel against plain torch in double precision.

Without a GPU its source is compiled with g++ and run by the CPU, three threads a block, which take turns at
the barriers: the same arithmetic. What that cannot show is that it fits a GPU, and how fast it is.
"""

from dataclasses import replace

import cuda_on_cpu
import pytest
import torch
from checks import relative_error
from multislice_problems import (
    COMMON,
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
from dptt.kernels.cuda import compiler
from dptt.kernels.cuda import multislice as fused
from dptt.kernels.cuda.plan import Multiprocessor

on_gpu = DEVICE == "cuda"
pytestmark = pytest.mark.skipif(not on_gpu and cuda_on_cpu.gxx is None, reason="needs a GPU or g++")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return compiler.compiled if on_gpu else cuda_on_cpu.compiler(tmp_path_factory.mktemp("kernels"), num_threads=3)


@pytest.fixture(autouse=True)
def device(compiled, monkeypatch):
    """Without a GPU: two blocks for all positions, with room for two modes of the largest window here."""
    if not on_gpu:
        monkeypatch.setattr(compiler, "compiled", compiled)
        monkeypatch.setattr(fused, "multiprocessor", lambda device: Multiprocessor(2, 5200, 4100))


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(("loss", "masked"), [("amplitude", False), ("amplitude", True), ("poisson", True)])
@pytest.mark.parametrize("name", SHAPES)
def test_gradients_keep_five_digits_on_noisy_data(name, loss, masked):
    given = batch(name, loss, masked=masked)
    expected = multislice.multislice_gradient(given)
    assert_same(fused.multislice_gradient(single(given)), expected, 1e-5)


@pytest.mark.parametrize("name", COMMON)
def test_windows_of_common_sizes_are_transformed_by_large_radices(name, monkeypatch):
    if not on_gpu:
        monkeypatch.setattr(fused, "multiprocessor", lambda device: Multiprocessor(1, 228 * 1024, 227 * 1024))
    given = batch(name, num_positions=1)
    expected = multislice.multislice_gradient(given)
    assert_same(fused.multislice_gradient(single(given)), expected, 1e-5)


@pytest.mark.parametrize("name", SHAPES)
def test_gradients_added_in_order_are_the_same(name, deterministic, monkeypatch):
    monkeypatch.setattr(fused, "_WINDOWS_BYTES", 20_000)  # some positions at a time
    given = batch(name, "poisson", num_positions=7)
    expected = multislice.multislice_gradient(given)
    assert_same(fused.multislice_gradient(single(given)), expected, 1e-5)


def test_added_in_order_a_repetition_gives_the_same_bits(deterministic):
    given = single(batch("as large as the image"))
    first, second = (fused.multislice_gradient(given) for _ in range(2))
    assert all(torch.equal(getattr(first, name), getattr(second, name)) for name in RESULTS)


@pytest.mark.parametrize("name", SHAPES)
def test_displaced_patterns_keep_five_digits(name):
    given = displaced(batch(name, "poisson", masked=True))
    expected = multislice.multislice_gradient(given)
    assert_same(fused.multislice_gradient(single(given)), expected, 1e-5)
    assert relative_error(fused.multislice_loss(single(given)).cpu(), expected.loss) < 1e-5


@pytest.mark.parametrize("variance", [0.3, 6.0], ids=["a little", "beyond the window"])
@pytest.mark.parametrize("loss", ["amplitude", "poisson"])
@pytest.mark.parametrize("name", SHAPES)
def test_a_detector_that_blurs_keeps_five_digits(name, loss, variance):
    given = blurred(displaced(batch(name, loss, masked=True)), variance)
    expected = multislice.multislice_gradient(given)
    assert_same(fused.multislice_gradient(single(given)), expected, 1e-5)
    assert relative_error(fused.multislice_loss(single(given)).cpu(), expected.loss) < 1e-5


@pytest.mark.parametrize("loss", ["amplitude", "poisson"])
def test_single_precision_is_enough_near_convergence(loss):
    given = near_convergence("odd and wide", loss)
    expected = multislice.multislice_gradient(given)
    assert_same(fused.multislice_gradient(single(given)), expected, 5e-4)


def test_masked_pixels_may_be_anything(deterministic):
    given = single(batch("odd and wide", "poisson", masked=True))
    mask = mask_of("odd and wide").to(DEVICE)
    whole = replace(given, measured=given.measured.float())
    spoilt = replace(given, measured=whole.measured.masked_fill(~mask, torch.nan))
    first, second = (fused.multislice_gradient(b) for b in (whole, spoilt))
    assert all(torch.equal(getattr(first, name), getattr(second, name)) for name in RESULTS)


def test_a_bad_number_is_seen_in_the_loss():
    given = single(batch("odd and wide"))
    spoilt = given.measured.float()
    spoilt[3, 2, 1] = torch.nan
    assert fused.multislice_gradient(replace(given, measured=spoilt)).loss.isnan()


@pytest.mark.parametrize("num_positions", [0, 1, 5])
def test_loss_alone_is_the_loss_of_the_gradient(num_positions):
    given = single(batch("one slice, one mode", "poisson", num_positions))
    whole = fused.multislice_gradient(given)
    assert torch.equal(fused.multislice_loss(given), whole.loss)
    assert len(whole.shifts) == num_positions
    assert num_positions or all((getattr(whole, name) == 0).all() for name in RESULTS)


def test_a_window_larger_than_the_image_is_refused():
    given = single(batch("odd and wide"))
    with pytest.raises(ValueError, match=r"window \(9, 14\) is larger than the image \(8, 22\)"):
        fused.multislice_gradient(replace(given, transmission=given.transmission[:, :8]))
