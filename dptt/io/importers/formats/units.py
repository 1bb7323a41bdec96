"""Units as other programs write them, and calibrated axes: to Å, 1/Å, mrad."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

LENGTHS = {"a": 1.0, "å": 1.0, "angstrom": 1.0, "angstroms": 1.0, "ang": 1.0, "nm": 10.0, "pm": 0.01, "m": 1e10}
LENGTHS |= {
    "um": 1e4,
    "µm": 1e4,
    "μm": 1e4,
    "micron": 1e4,
    "nanometer": 10.0,
    "nanometre": 10.0,
}  # both signs of micro
ANGLES = {"mrad": 1.0, "rad": 1e3, "deg": 1e3 * math.pi / 180, "°": 1e3 * math.pi / 180, "µrad": 1e-3, "μrad": 1e-3}


@dataclass(frozen=True)
class Axis:
    """A calibrated axis of an array: the step between its elements in `units`; 1 without a unit is no calibration."""

    step: float
    units: str = ""


def length(axis: Axis) -> float | None:
    """Return the step of an axis in real space [Å]; None if its unit is no length, or the step is not positive."""
    return _positive(axis.step, LENGTHS.get(_plain(axis.units)))


def angle(axis: Axis) -> float | None:
    """Return the step of an axis of angles [mrad]; None if its unit is no angle."""
    return _positive(axis.step, ANGLES.get(_plain(axis.units)))


def spatial_frequency(axis: Axis) -> float | None:
    """Return the step of an axis in reciprocal space [1/Å]; None if its unit is no inverse length."""
    unit = _plain(axis.units)
    for affix in ("^-1", "⁻¹", "**-1", "-1"):
        if unit.endswith(affix):
            return _positive(axis.step, _inverse(unit.removesuffix(affix)))
    return _positive(axis.step, _inverse(unit.removeprefix("1/"))) if unit.startswith("1/") else None


def pair(values: Sequence[float | None]) -> tuple[float, float] | None:
    """Return two values as a pair, None if one is not known."""
    first, second = values
    return None if first is None or second is None else (float(first), float(second))


def sampling(scan: Sequence[Axis], detector: Sequence[Axis]) -> dict[str, tuple[float, float] | None]:
    """Return `scan_step`, `angular_sampling` and `reciprocal_sampling` of `Metadata` from the axes (y, x) of each."""
    return {
        "scan_step": pair([length(axis) for axis in scan]) if len(scan) == 2 else None,
        "angular_sampling": pair([angle(axis) for axis in detector]),
        "reciprocal_sampling": pair([spatial_frequency(axis) for axis in detector]),
    }


def _plain(unit: str) -> str:
    """Return a unit without brackets, underscores and spaces, in lower case; NCEM writes [1_/_n_m]."""
    return "".join(letter for letter in unit.strip().lower() if letter not in "[]_() ")


def _inverse(unit: str) -> float | None:
    factor = LENGTHS.get(unit)
    return None if factor is None else 1 / factor


def _positive(step: float, factor: float | None) -> float | None:
    return step * factor if factor is not None and math.isfinite(step) and step > 0 else None
