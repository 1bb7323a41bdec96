"""Fourier transforms in place for compiled code: the MKL of PyTorch, through its public interface.

`torch.fft` allocates a result and a plan for every call; a wave that stays where it is, in the cache, is transformed
in two thirds of the time. Nothing is scaled here. Without MKL, as on ARM, `own_transforms` take its place.
"""

import ctypes
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path

import torch
from llvmlite import binding
from numba import types

_COMPLEX, _THREAD_LIMIT = 32, 27
"""DFTI_COMPLEX and DFTI_THREAD_LIMIT of mkl_dfti.h."""

_transform = types.intp(types.intp, types.intp)
forward = types.ExternalFunction("dptt_transform_forward", _transform)
"""(plan, address) -> 0, or the number of an error."""
backward = types.ExternalFunction("dptt_transform_backward", _transform)
"""As `forward`; not divided by the number of pixels."""


@cache
def provide() -> bool:
    """Let compiled code find `forward` and `backward`, and return whether they are those of MKL."""
    if has_mkl():
        addresses = [
            ctypes.cast(function, ctypes.c_void_p).value
            for function in (_library().DftiComputeForward, _library().DftiComputeBackward)
        ]
    else:
        from dptt.kernels.cpu import own_transforms

        addresses = [own_transforms.forward.address, own_transforms.backward.address]
    for name, address in zip(("forward", "backward"), addresses, strict=True):
        binding.add_symbol(f"dptt_transform_{name}", address)
    return has_mkl()


@cache
def has_mkl() -> bool:
    """Return whether this PyTorch includes MKL, and its transforms are correct."""
    try:
        library = _library()
        _ = library.DftiComputeForward, library.DftiComputeBackward
    except (OSError, AttributeError):
        return False
    return all(_is_right(dtype) for dtype in (torch.complex64, torch.complex128))


def plan(shape: tuple[int, int], dtype: torch.dtype) -> AbstractContextManager[int]:
    """Return the plan of one transform of `shape` (y, x), for one thread at a time, as a context."""
    if has_mkl():
        return _plan_of_mkl(shape, dtype)
    from dptt.kernels.cpu import own_transforms

    return own_transforms.plan(shape, dtype)


@contextmanager
def _plan_of_mkl(shape: tuple[int, int], dtype: torch.dtype) -> Iterator[int]:
    library, handle = _library(), ctypes.c_void_p()
    single = dtype == torch.complex64
    # the expansion of the header's macro DftiCreateDescriptor
    create = library.DftiCreateDescriptor_s_md if single else library.DftiCreateDescriptor_d_md
    lengths = (ctypes.c_long * 2)(*shape)
    _check(create(ctypes.byref(handle), ctypes.c_int(_COMPLEX), ctypes.c_long(2), lengths))
    try:
        _check(library.DftiSetValue(handle, ctypes.c_int(_THREAD_LIMIT), ctypes.c_long(1)))
        _check(library.DftiCommitDescriptor(handle))
        assert handle.value
        yield handle.value
    finally:
        library.DftiFreeDescriptor(ctypes.byref(handle))


@cache
def _library() -> ctypes.CDLL:
    """Return the library of PyTorch that contains MKL; it is already loaded."""
    (path,) = list((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.so")) or [Path("libtorch_cpu.so")]
    return ctypes.CDLL(str(path))


def _is_right(dtype: torch.dtype) -> bool:
    """Return whether a small transform agrees with `torch.fft`: MKL does not check the constants of the header."""
    wave = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=dtype)
    there = wave.clone()
    try:
        with _plan_of_mkl((5, 6), dtype) as handle:
            failed = _library().DftiComputeForward(ctypes.c_void_p(handle), ctypes.c_void_p(there.data_ptr()))
    except (RuntimeError, AttributeError):
        return False
    return not failed and torch.allclose(there, torch.fft.fft2(wave), rtol=0, atol=1e-5)


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"MKL refused a transform with error {status}")
