"""The kernels compiled by numba for the cores of a CPU; `loaded` returns them.

They are imported, and compiled the first time on a machine, only for problems that are worth it.
"""

from functools import cache

from dptt.kernels.implementation import Kernels


@cache
def loaded() -> Kernels | None:
    """Return the compiled kernels, or None where numba or the transforms of MKL are missing."""
    try:
        from dptt.kernels.cpu import multislice, pose_derivatives, rotation, transforms, volume_step
    except ImportError:
        return None
    return Kernels(multislice, pose_derivatives, rotation, volume_step) if transforms.is_available() else None


@cache
def missing() -> str:
    """Return why there are no compiled kernels; empty if there are."""
    if loaded():
        return ""
    try:
        import numba  # noqa: F401
    except ImportError as error:
        return f"numba cannot be imported ({error})"
    return "this PyTorch has no MKL, or not the one they need"
