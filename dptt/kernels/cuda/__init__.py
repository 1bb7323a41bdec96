"""Multislice in CUDA C++, fused: the waves of a position stay in a multiprocessor from the probe to the detector.

Compiled when first needed by NVRTC, which PyTorch brings along: no compiler is needed on the machine. The sources
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
    """Return the kernels, or None where there is no NVIDIA GPU, or no NVRTC to compile them with."""
    if not torch.cuda.is_available() or torch.version.cuda is None:
        return None
    from dptt.kernels.cuda import compiler, multislice

    return Kernels(multislice) if compiler.is_available() else None
