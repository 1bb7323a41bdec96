"""What all files for Triton share: how functions are compiled, where they run, and how complex numbers are read.

Triton has no complex numbers. A tensor of them is passed as one of 64-bit integers (`pairs_of`), so that a number is
read and written at once: reading parts and sorting them would go through shared memory. Where real and imaginary
parts are treated alike, it is a tensor of real numbers (`parts_of`).
"""

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from inspect import unwrap
from pathlib import Path
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from dptt.kernels.disk_cache import cache_folder, own_folder

# Triton keeps what it has compiled in this folder, and runs it from there
os.environ["TRITON_CACHE_DIR"] = str(
    own_folder(Path(os.environ.get("TRITON_CACHE_DIR") or cache_folder() / "triton"))
)
# a·b + c is rounded once, as by any compiler for a GPU; Triton needs to be told
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

BLOCK = 256
"""Pixels or voxels of one program."""


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first launched; called from another kernel it is inlined."""
    return triton.jit(unwrap(function))  # under pytest every function is wrapped to check the shapes of its arguments


def can_run() -> bool:
    """Return whether kernels can run: in the interpreter, or on a GPU; Triton's launcher needs a C compiler too."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        return True
    return torch.cuda.is_available() and any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang")))


def on_device_of(tensor: Tensor) -> AbstractContextManager[Any]:
    """Launch kernels on the device of `tensor`; with several GPUs the current one may be another."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def blocks(count: int) -> int:
    """Return the number of programs for `count` pixels."""
    return triton.cdiv(count, BLOCK)


def parts_of(tensor: Tensor) -> Tensor:
    """Return a tensor's own memory as real numbers; of complex ones, with a last axis of 2."""
    assert tensor.is_contiguous() and not tensor.is_conj()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def pairs_of(tensor: Tensor) -> Tensor:
    """Return the own memory of a tensor of complex numbers as integers, for `load_pair` and `store_pair`."""
    assert tensor.is_contiguous() and not tensor.is_conj()
    return tensor.view(torch.int64)


@kernel
def load_pair(pointer, index, valid):
    """Return real and imaginary parts of the complex numbers at `index`, zero where not `valid`."""
    pair = tl.load(pointer + index, mask=valid, other=0)
    real, imaginary = pair.to(tl.int32), (pair >> 32).to(tl.int32)
    return real.to(tl.float32, bitcast=True), imaginary.to(tl.float32, bitcast=True)


@kernel
def store_pair(pointer, index, valid, real, imaginary):
    """Write complex numbers to `index`."""
    low = real.to(tl.uint32, bitcast=True).to(tl.uint64)
    high = imaginary.to(tl.uint32, bitcast=True).to(tl.uint64)
    tl.store(pointer + index, ((high << 32) | low).to(tl.int64, bitcast=True), mask=valid)


@kernel
def periodic_index(corners, position, row, column, height, width):
    """Return where pixels of a window lie in the image that it is cut from; corners are within the image."""
    y = tl.load(corners + 2 * position) + row
    x = tl.load(corners + 2 * position + 1) + column
    return tl.where(y < height, y, y - height) * width + tl.where(x < width, x, x - width)
