"""The kernels compiled for the cores of a CPU, with the extra `fast` (numba): who needs them asks `loaded`.

They are imported, and compiled the first time on a machine, only for problems that are worth it.
"""

from functools import cache
from types import ModuleType
from typing import NamedTuple


class Kernels(NamedTuple):
    """The modules of compiled kernels."""

    multislice: ModuleType
    pose_derivatives: ModuleType
    rotation: ModuleType
    volume_step: ModuleType


@cache
def loaded() -> Kernels | None:
    """Return the compiled kernels, or None where numba or the transforms of MKL are missing."""
    try:
        from dptt.kernels.cpu import multislice, pose_derivatives, rotation, transforms, volume_step
    except ImportError:
        return None
    return Kernels(multislice, pose_derivatives, rotation, volume_step) if transforms.is_available() else None
