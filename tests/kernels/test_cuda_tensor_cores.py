"""Adjoint steps in half precision on tensor cores, against plain torch in double precision.

Without a GPU the CPU computes them, two warps a block: `cuda_on_cpu.h` has a product's numbers where the manual
of PTX says they are. What that cannot show is how the tensor cores themselves round, and how fast they are.
"""

from dataclasses import replace

import cuda_on_cpu
import pytest
import torch
from checks import random_tensor, relative_error
from multislice_problems import COMMON, DEVICE, SHAPES, assert_same, batch, single

from dptt.kernels import multislice
from dptt.kernels.cuda import compiler
from dptt.kernels.cuda import multislice as fused
from dptt.kernels.cuda.plan import Multiprocessor, parts_of
from dptt.kernels.cuda.separable import adjoint_kernels, factors_of
from dptt.model.losses import Misfit
from dptt.physics.multislice import band_limit, fresnel_propagator

TOLERANCE = 3e-3
"""Eleven bits, rounded twice a step and axis."""
on_gpu = DEVICE == "cuda"
without_compiler = pytest.mark.skipif(not on_gpu and cuda_on_cpu.gxx is None, reason="needs a GPU or g++")
MICROSCOPE = {"sampling": (0.4, 0.5), "wavelength": 0.025, "distance": 20.0}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return compiler.compiled if on_gpu else cuda_on_cpu.compiler(tmp_path_factory.mktemp("kernels"), num_threads=64)


@pytest.fixture(autouse=True)
def device(compiled, monkeypatch):
    """Without a GPU: two blocks for all positions, with room for two modes of the largest window of SHAPES."""
    if not on_gpu:
        monkeypatch.setattr(compiler, "compiled", compiled)
        monkeypatch.setattr(fused, "multiprocessor", lambda device: Multiprocessor(2, 5200, 4100, tensor=True))


@pytest.fixture
def large(monkeypatch):
    """Without a GPU: room for large windows."""
    if not on_gpu:
        monkeypatch.setattr(
            fused, "multiprocessor", lambda device: Multiprocessor(2, 228 * 1024, 227 * 1024, tensor=True)
        )


def separable(given, seed=7):
    """Return the batch with random phases along y and along x between its slices."""
    along_y, along_x = (
        torch.polar(torch.ones(n).double(), 2 * random_tensor(n, seed=seed + n)) for n in given.window
    )
    return replace(given, propagator=along_y[:, None] * along_x)


def fast(given):
    """Return the batch as a GPU gets it; its adjoint steps are on tensor cores indeed."""
    result = replace(single(given), fast=True)
    assert fused.plan_of(result).tensor
    return result


@without_compiler
@pytest.mark.parametrize("name", SHAPES)
def test_gradients_keep_three_digits(name):
    given = separable(batch(name, masked=True))
    expected = multislice.multislice_gradient(given)
    result = fused.multislice_gradient(fast(given))
    assert_same(result, expected, TOLERANCE)
    for unchanged in ("loss", "illumination"):
        assert relative_error(getattr(result, unchanged).cpu(), getattr(expected, unchanged)) < 1e-6


@without_compiler
@pytest.mark.parametrize("name", COMMON)
def test_common_windows_keep_three_digits(name, large):
    given = separable(batch(name, "poisson", num_positions=1))
    assert_same(fused.multislice_gradient(fast(given)), multislice.multislice_gradient(given), TOLERANCE)


@without_compiler
def test_errors_of_eight_slices_add_up_to_no_more(large):
    """Tilted beam, three modes, and counts whose noise is all that the gradient is of: shifts nearly cancel then."""
    window, image = (22, 66), (30, 70)
    propagator = fresnel_propagator(window, **MICROSCOPE, beam_tilt=(3.0, -5.0))
    y, x = (torch.arange(n).double() - n // 2 for n in window)
    spot = torch.exp(-(y[:, None] ** 2 + x**2) / 40)
    modes = 30 * torch.stack([spot, spot * x / 6, spot * y[:, None] / 6])
    given = replace(
        batch("odd and wide", num_positions=2),
        transmission=torch.polar(torch.ones(()).double(), 0.2 * random_tensor(8, *image, seed=1)),
        probe=torch.fft.ifft2(torch.fft.fft2(modes) * propagator**3),
        propagator=propagator,
        measured=torch.zeros(2, *window),
        measured_scale=1.0,
    )
    counts = torch.poisson(intensities(given), generator=torch.Generator().manual_seed(2))
    given = replace(given, measured=counts)
    expected, result = multislice.multislice_gradient(given), fused.multislice_gradient(fast(given))
    for name, tolerance in (("transmission", 1e-3), ("probe", 1.5e-3), ("shifts", 5e-3)):
        assert relative_error(getattr(result, name).cpu(), getattr(expected, name)) < tolerance, name


def intensities(given):
    """Return what the detector would see (pos, y, x)."""
    found = []

    def keep(model, measured):
        found.append(model.clone())
        return model.sum(), torch.ones_like(model)

    multislice.multislice_loss(replace(given, loss=keep))
    return torch.cat(found)


@without_compiler
@pytest.mark.parametrize("amplitude", [1e-9, 1e5], ids=["small", "large"])
def test_gradients_may_be_of_any_size(amplitude):
    """Those of the slices are as the square of the amplitude: a half ends at 6e-8 and at 65504."""
    given = separable(batch("odd and wide"))
    misfit = Misfit("amplitude", 1e-2 * amplitude**2)
    given = replace(given, probe=amplitude * given.probe, loss=misfit, measured_scale=0.3 * amplitude**2)
    assert_same(fused.multislice_gradient(fast(given)), multislice.multislice_gradient(given), TOLERANCE)


@without_compiler
def test_no_wave_has_no_gradient():
    given = separable(batch("odd and wide"))
    dark = fast(replace(given, probe=torch.zeros_like(given.probe)))
    assert (fused.multislice_gradient(dark).transmission == 0).all()


@without_compiler
def test_the_loss_has_the_same_bits():
    given = fast(separable(batch("odd and wide", "poisson")))
    loss = fused.multislice_gradient(given).loss
    assert torch.equal(loss, fused.multislice_loss(given))
    assert torch.equal(loss, fused.multislice_gradient(replace(given, fast=False)).loss)


@without_compiler
def test_a_propagator_that_is_no_product_is_left_to_transforms():
    given = batch("odd and wide")
    asked = replace(single(given), fast=True)
    assert fused.plan_of(asked) == fused.plan_of(single(given))
    assert_same(fused.multislice_gradient(asked), multislice.multislice_gradient(given), 1e-5)


@pytest.mark.parametrize("window", [(66, 64), (9, 14), (1, 16)], ids=str)
def test_free_space_is_a_product_and_within_a_circle_it_is_none(window):
    free = fresnel_propagator(window, **MICROSCOPE, beam_tilt=(2.0, -1.0), dtype=torch.complex64)
    along_y, along_x = factors_of(free)
    assert relative_error(along_y[:, None] * along_x, free) < 1e-6
    within = free * band_limit(window, MICROSCOPE["sampling"])
    assert (factors_of(within) is None) == (window[0] > 1)


def test_a_propagator_without_its_zero_frequency_is_left_to_transforms():
    assert factors_of(torch.zeros(4, 4, dtype=torch.complex64)) is None


@pytest.mark.parametrize("length", [66, 64, 13])
def test_kernels_are_of_the_adjoint_convolution_over_parts(length):
    """A_k[i, j] = a_k(i - j), between transforms over the parts, is the matrix of F⁻¹ diag(conj p) F."""
    propagator = fresnel_propagator((length, 1), **MICROSCOPE, beam_tilt=(3.0, 0.0))
    parts = parts_of(length)
    part = length // parts
    words = adjoint_kernels(propagator)[:-16].view(parts, -1)
    numbers = torch.view_as_complex(words.view(torch.float16).view(parts, -1, 2).double())
    kernels = numbers * words[:, :1].contiguous().view(torch.float32)
    differences = torch.arange(part)[:, None] - torch.arange(part)
    blocks = kernels[:, differences + kernels.shape[1] // 2]
    lines = torch.eye(length, dtype=torch.complex128).view(parts, part, length)
    product = torch.fft.ifft(blocks @ torch.fft.fft(lines, dim=0), dim=0, norm="forward").reshape(length, length)
    expected = torch.fft.ifft(propagator.conj() * torch.fft.fft(torch.eye(length), dim=0), dim=0)
    assert relative_error(product, expected) < 2e-4
