"""The parts of an implementation of the kernels for one kind of processor."""

from types import ModuleType
from typing import NamedTuple


class Kernels(NamedTuple):
    """Modules with the functions of their namesakes in `kernels`, for tensors on their processor."""

    multislice: ModuleType
    pose_derivatives: ModuleType
    rotation: ModuleType
    volume_step: ModuleType
    diffraction: ModuleType | None = None
