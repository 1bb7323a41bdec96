"""The kernels compiled by numba for the cores of a CPU; `loaded` returns them.

They are imported, and compiled the first time on a machine, only for problems that are worth it.
"""

from functools import cache

from dptt.kernels.implementation import Kernels


@cache
def loaded() -> Kernels | None:
    """Return the compiled kernels, or None where numba is missing."""
    try:
        from dptt.kernels.cpu import diffraction, multislice, rotation, transforms, volume_step
    except ImportError:
        return None
    transforms.provide()
    return Kernels(multislice, rotation, volume_step, diffraction)


@cache
def transforms_in_use() -> str:
    """Return whose Fourier transforms the compiled kernels use."""
    from dptt.kernels.cpu import transforms

    return "MKL" if transforms.has_mkl() else "own, two to four times slower than MKL, which this PyTorch has not"


@cache
def missing() -> str:
    """Return why there are no compiled kernels; empty if there are."""
    if loaded():
        return ""
    try:
        import numba  # noqa: F401
    except ImportError as error:
        return f"numba cannot be imported ({error})"
    return "they cannot be compiled here"
