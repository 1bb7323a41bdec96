"""The kernels compiled for the cores of a CPU, with the extra `fast` (numba); `loaded` returns them.

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
