"""The transforms that compiled kernels use where PyTorch has no MKL."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

own = pytest.importorskip("dptt.kernels.cpu.own_transforms")

SHAPES = [(1, 9), (7, 1), (5, 6), (8, 12), (30, 77), (64, 48)]
TOLERANCE = {torch.complex64: 2e-6, torch.complex128: 1e-13}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_they_agree_with_those_of_torch_for_any_lengths(dtype):
    for shape in SHAPES:
        wave = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
        for transform, expected in (
            (own.forward, torch.fft.fft2(wave)),
            (own.backward, torch.fft.ifft2(wave, norm="forward")),
        ):
            result = wave.clone()
            with own.plan(shape, dtype) as plan:
                assert transform.ctypes(plan, result.data_ptr()) == 0
            torch.testing.assert_close(result, expected, rtol=0, atol=TOLERANCE[dtype] * float(expected.abs().max()))


WITHOUT_MKL = """
from dptt.kernels.cpu import transforms
def absent(): raise OSError("no MKL")
transforms._library = absent
import torch
from multislice_problems import batch, single
from checks import relative_error
from dptt.kernels import cpu, dispatch, multislice
given = single(batch("odd and wide"), "cpu")
kernels = cpu.loaded()
assert cpu.transforms_in_use().startswith("own"), cpu.transforms_in_use()
found, expected = kernels.multislice.multislice_gradient(given), multislice.multislice_gradient(given)
assert relative_error(found.transmission, expected.transmission) < 1e-5
assert relative_error(found.probe, expected.probe) < 1e-5
print("agree")
"""


@pytest.mark.slow
@pytest.mark.thorough
def test_the_kernels_give_the_same_gradients_with_them(monkeypatch):
    """In a process of its own: what compiled code calls cannot be exchanged any more when it has been loaded."""
    tests = Path(__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{tests.parent}:{tests}:{tests / 'kernels'}")
    ended = subprocess.run([sys.executable, "-c", WITHOUT_MKL], capture_output=True, text=True)
    assert ended.stdout == "agree\n", ended.stderr
