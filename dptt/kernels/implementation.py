"""The parts of an implementation of the kernels for one kind of processor."""

from types import ModuleType
from typing import NamedTuple


class Kernels(NamedTuple):
    """Modules with functions of their namesakes in `kernels`, for tensors on their processor."""

    multislice: ModuleType
    rotation: ModuleType
    """The steps of a turning, those of `physics.turned_planes`."""
    volume_step: ModuleType
    diffraction: ModuleType | None = None
