"""Distributed ptychographic tomography toolkit: 4D-STEM tilt series to a 3D electrostatic potential.

Implements You, Romanov & Pelz, Phys. Scr. 100 (2025) 015404, cited as [P] throughout.

    series = dptt.read("series.h5")
    result = dptt.reconstruct(series, volume={"thickness": 22})
    result.show()

The functions are those of `dptt.interface`, which is imported when one of them is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dptt.interface import align, atoms, brightfield, load, ptychography, read, reconstruct, run, simulate

__version__ = "0.1.0"
__all__ = ["align", "atoms", "brightfield", "load", "ptychography", "read", "reconstruct", "run", "simulate"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dptt.runtime.environment import prepare_libraries

    prepare_libraries()  # before torch is imported
    from dptt import interface

    return getattr(interface, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
