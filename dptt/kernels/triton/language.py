"""What Triton is told in every file: how a function is compiled, where it runs, and how complex numbers are read.

Triton has no complex numbers: a tensor of them is passed as its memory, real and imaginary parts in turn
(`parts_of`), and is read and written as pairs.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from inspect import unwrap
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 256
"""Pixels or voxels of one program."""


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function the first time that it is launched; called from another kernel it becomes part of that."""
    return triton.jit(unwrap(function))  # under pytest every function is wrapped to check the shapes it is given


def on_device_of(tensor: Tensor) -> AbstractContextManager[Any]:
    """Make the device of `tensor` the one that kernels are launched on; with several GPUs it may be another."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def blocks(count: int) -> int:
    """Return the number of programs for `count` pixels."""
    return triton.cdiv(count, BLOCK)


def parts_of(tensor: Tensor) -> Tensor:
    """Return a tensor's own memory as real numbers; of complex ones, with a last axis of 2."""
    assert tensor.is_contiguous() and not tensor.is_conj()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


@kernel
def load_pair(pointer, index, valid):
    """Return real and imaginary parts of the complex numbers at `index`, zero where not `valid`."""
    places = 2 * index[:, None] + tl.arange(0, 2)[None, :]
    return tl.split(tl.load(pointer + places, mask=valid[:, None], other=0.0))


@kernel
def store_pair(pointer, index, valid, real, imaginary):
    """Write complex numbers to `index`."""
    places = 2 * index[:, None] + tl.arange(0, 2)[None, :]
    tl.store(pointer + places, tl.join(real, imaginary), mask=valid[:, None])


@kernel
def periodic_index(corners, position, row, column, height, width):
    """Return where pixels of a window lie in the image that it is cut from; corners are within the image."""
    y = tl.load(corners + 2 * position) + row
    x = tl.load(corners + 2 * position + 1) + column
    return tl.where(y < height, y, y - height) * width + tl.where(x < width, x, x - width)
