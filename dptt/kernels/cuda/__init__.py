"""Multislice in CUDA C++, fused: the waves of a position stay in a multiprocessor from the probe to the detector.

Compiled when first needed by NVRTC, which comes with PyTorch: the machine needs no compiler. The sources
are also correct C++ for one thread after another, and so are tested without a GPU.
"""

from functools import cache
from types import ModuleType
from typing import NamedTuple

import torch


class Kernels(NamedTuple):
    """The modules of compiled kernels."""

    multislice: ModuleType


@cache
def loaded() -> Kernels | None:
    """Return the kernels, or None without an NVIDIA GPU or without NVRTC to compile them."""
    if not torch.cuda.is_available() or torch.version.cuda is None:
        return None
    from dptt.kernels.cuda import compiler, multislice

    return Kernels(multislice) if compiler.is_available() else None
