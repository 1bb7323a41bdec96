"""How windows are fitted to a GPU, and what compilers make of the sources; no GPU is needed for either."""

import re
import shutil
import subprocess
from dataclasses import replace
from itertools import product

import pytest
import torch
from multislice_problems import DEVICE

from dptt.kernels import cuda
from dptt.kernels.cuda import compiler
from dptt.kernels.cuda.multislice import kernel_definitions
from dptt.kernels.cuda.plan import Multiprocessor, parts_of, plan, radices_of, with_tensor_cores
from dptt.model.losses import Misfit

H100 = Multiprocessor(132, 228 * 1024, 227 * 1024, tensor=True)
CONSUMER = Multiprocessor(82, 100 * 1024, 99 * 1024, tensor=True)


@pytest.mark.parametrize("size", [64, 66, 72, 80, 96, 128])
@pytest.mark.parametrize("device", [H100, CONSUMER], ids=["H100", "consumer"])
def test_common_windows_fit_and_leave_no_multiprocessor_empty(size, device):
    for modes in (1, 3, 6):
        found = plan((size, size), modes, device)
        if found is None:
            assert 8 * size * size > 0.9 * device.block_bytes
            continue
        (y1, y2), (x1, x2) = found.radices
        assert y1 * y2 == x1 * x2 == size and sorted(found.order(0)) == list(range(size))
        assert found.shared_bytes <= device.block_bytes
        assert found.resident * (found.shared_bytes + 1024) <= device.shared_bytes
        assert found.resident * found.threads * 64 <= 65536


@pytest.mark.parametrize("size", [64, 66, 72, 80, 96, 128])
@pytest.mark.parametrize("device", [H100, CONSUMER], ids=["H100", "consumer"])
def test_tensor_cores_take_no_room_from_common_windows(size, device):
    for modes in (1, 3, 6):
        found = plan((size, size), modes, device)
        assert found is None or with_tensor_cores(found, device) == replace(found, tensor=True)


def test_without_tensor_cores_or_registers_for_long_lines_there_are_transforms():
    assert with_tensor_cores(plan((66, 66), 3, H100), replace(H100, tensor=False)) is None
    assert with_tensor_cores(plan((144, 66), 1, H100), H100) is None


def test_kernels_that_do_not_fit_leave_the_plan_alone():
    smallest = replace(plan((100, 100), 1, H100), threads=64)
    tight = replace(H100, block_bytes=smallest.shared_bytes)
    assert plan((100, 100), 1, tight) == replace(smallest, resident=2)
    assert with_tensor_cores(plan((100, 100), 1, tight), tight) is None


@pytest.mark.parametrize(("length", "parts"), [(66, 3), (64, 4), (80, 4), (72, 3), (14, 2), (9, 3), (8, 1), (13, 1)])
def test_lines_have_the_parts_with_the_fewest_products(length, parts):
    assert parts_of(length) == parts


def test_modes_of_the_papers_window_stay_together():
    found = plan((66, 66), 3, H100)
    assert (found.group, found.resident) == (3, 2)


@pytest.mark.parametrize("window", [(17, 64), (64, 289), (512, 512)], ids=str)
def test_other_windows_are_left_to_another_path(window):
    assert plan(window, 1, H100) is None


@pytest.mark.parametrize(("length", "radices"), [(66, (6, 11)), (128, (8, 16)), (7, (1, 7)), (1, (1, 1)), (34, None)])
def test_radices_are_as_equal_as_can_be(length, radices):
    assert radices_of(length) == radices


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
@pytest.mark.parametrize("displaced", [False, True], ids=["", "displaced"])
@pytest.mark.parametrize("tensor", [False, True], ids=["transforms", "tensor cores"])
@pytest.mark.parametrize(("size", "modes"), [(66, 3), (128, 6)])
def test_a_thread_has_registers_enough(size, modes, tensor, displaced, tmp_path):
    found = replace(plan((size, size), modes, H100), tensor=tensor)
    definitions = kernel_definitions(found, Misfit("poisson", 1e-6), torch.uint16, displaced=displaced)
    options = ["-arch=sm_90", "-std=c++17", "-cubin", "--ptxas-options=-v", "-o", str(tmp_path / "kernel.cubin")]
    command = ["nvcc", *options, *(f"-D{text}" for text in definitions), str(compiler.SOURCES / "multislice.cu")]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    stores, loads = (int(re.search(rf"(\d+) bytes spill {word}", report)[1]) for word in ("stores", "loads"))
    assert stores + loads <= 64, report


@pytest.mark.skipif(not compiler.can_compile(), reason="needs NVRTC, which comes with PyTorch for CUDA")
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_the_sources_need_no_headers_and_no_gpu_to_be_compiled(architecture):
    found = plan((14, 9), 2, H100)
    for one, displaced in product((found, with_tensor_cores(found, H100)), (False, True)):
        misfit = Misfit("amplitude", 1e-6, blur=0.3 if displaced else 0.0)
        definitions = kernel_definitions(one, misfit, torch.float32, displaced=displaced)
        assert compiler.machine_code("multislice.cu", definitions, architecture).startswith(b"\x7fELF")
    assert compiler.machine_code("windows.cu", (), architecture).startswith(b"\x7fELF")


@pytest.mark.skipif(not compiler.can_compile(), reason="needs NVRTC, which comes with PyTorch for CUDA")
def test_what_the_compiler_says_is_part_of_the_message():
    with pytest.raises(RuntimeError, match='identifier "HEIGHT" is undefined'):
        compiler.machine_code("multislice.cu", (), "sm_90")


def test_without_a_gpu_there_is_no_fused_kernel():
    assert DEVICE == "cuda" or cuda.loaded() is None
