"""Calibrations, aberrations and poses as HDF5 attributes: names with units, reading, writing and checks.

Inside the program an aberration is `C10` [Å] or `phi12` [deg]; on disk the attribute is `C10_A` or `phi12_deg`.
A pose is `phi_deg`, `theta_deg`, `psi_deg` (about x, y = stage tilt, z) and `translation_A` (y, x).
"""

import re
from collections.abc import Collection, Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np

from dptt.io.hdf5_file import read_attribute

ABERRATIONS = ("C10", "C12", "phi12", "C21", "phi21", "C23", "phi23", "C30")
EULER_ANGLES = ("phi_deg", "theta_deg", "psi_deg")
POSE_ATTRIBUTES = (*EULER_ANGLES, "translation_A")
LIMITS = {
    "energy_eV": (10.0, 1e8),
    "semiangle_cutoff_mrad": (1e-3, 1571.0),
    "angular_sampling_mrad": (1e-6, 1571.0),
    "counts_per_electron": (1e-9, 1e9),
    "translation_A": (-1e8, 1e8),
    **dict.fromkeys(EULER_ANGLES, (-360.0, 360.0)),
    **{f"phi{symmetry}_deg": (-360.0, 360.0) for symmetry in (12, 21, 23)},
    **{f"C{order}_A": (-1e11, 1e11) for order in (10, 12, 21, 23, 30)},
}
"""Name of an attribute -> its least and greatest value: a right angle, a turn, 1 cm of a stage, 10 m of a lens.

What lies beyond is in no microscope, and so large or small that grids and phases made of it would overflow.
"""
TEXTS = (
    *("command", "config", "created", "identity", "series_checksum"),
    *("loss_function", "left_out", "preferences", "thermal", "method", "reason", "findings", "out_of_focus"),
)
"""Attributes of results that are text."""
FARTHEST = LIMITS["translation_A"][1]
"""[Å] Of scan positions too."""
_LOOKS_LIKE_ABERRATION = re.compile(r"C\d\d(_\w+)?|phi\d\d(_\w+)?|defocus(_\w+)?")


def aberration_attribute(name: str) -> str:
    """Return the attribute that stores the aberration `name`: `C10` -> `C10_A`, `phi12` -> `phi12_deg`."""
    return f"{name}_deg" if name.startswith("phi") else f"{name}_A"


def number_problems(
    attributes: Mapping[str, Any],
    name: str,
    *,
    size: int = 1,
    unit: str,
    where: str,
    positive: bool = False,
    finite: bool = True,
) -> Iterator[str]:
    """Yield what is wrong with the attribute `name`, which must hold `size` numbers within its `LIMITS`.

    Parameters
    ----------
    attributes
        The attributes of an HDF5 object.
    name
        Name of the attribute.
    size
        How many numbers it must hold.
    unit
        Unit and order of the numbers, for the message, such as ``"eV"`` or ``"Å (y, x)"``.
    where
        Name of the HDF5 object, for the message.
    positive
        Whether the numbers must be greater than zero.
    finite
        Whether they must be finite; a NaN says of a measure that it could not be taken.
    """
    low, high = LIMITS.get(name, (0.0 if positive else -np.inf, np.inf))
    span = f" from {low:g} to {high:g}" if name in LIMITS else ""
    kind = f"{' finite' * finite}{' positive' * positive}"
    expected = f"expected {size}{kind} number{'s' * (size > 1)}{f' [{unit}]' * bool(unit)}{span}"
    if name not in attributes:
        yield f"{where} has no attribute {name}; {expected}. Add it."
        return
    stored = read_attribute(attributes, name)
    value = np.asarray(stored)
    if value.dtype.kind not in "iuf" or value.size != size:
        yield f"{where}: attribute {name} is {stored!r}; {expected}. Correct it."
    elif (finite and not (np.isfinite(value) & (low <= value) & (value <= high)).all()) or (
        positive and (value <= 0).any()
    ):
        yield f"{where}: attribute {name} is {value.tolist()}; {expected}. Correct it."


def result_problems(
    attributes: Mapping[str, Any], where: str, *, numbers: Collection[str] = (), checked: Collection[str] = ()
) -> Iterator[str]:
    """Yield which attributes of a result are of the wrong kind; each is one number or one text.

    Parameters
    ----------
    attributes
        The attributes of an HDF5 object.
    where
        Name of the HDF5 object, for the message.
    numbers
        Names of those that are numbers, where they are present; they may be NaN.
    checked
        Names of those that have a check of their own.
    """
    for name in attributes:
        if name in checked:
            continue
        stored = read_attribute(attributes, name)
        is_text = isinstance(stored, str | bytes)
        if name in numbers:
            yield from number_problems(attributes, name, unit="", where=where, finite=False)
        elif name in TEXTS and not is_text:
            yield f"{where}: attribute {name} is {stored!r}; expected text. Correct it."
        elif not is_text and not isinstance(stored, int | float | np.number | np.bool_):
            yield f"{where}: attribute {name} is {stored!r}; expected one number or text. Correct it."


def read_numbers(attributes: Mapping[str, Any], name: str) -> tuple[float, ...]:
    """Return the numbers in the attribute `name`."""
    return tuple(float(number) for number in np.ravel(read_attribute(attributes, name)))


def aberration_problems(attributes: Mapping[str, Any], where: str) -> Iterator[str]:
    """Yield what is wrong with the aberrations, misspelt names included."""
    known = {aberration_attribute(name): name for name in ABERRATIONS}
    for attribute in attributes:
        if attribute in known:
            yield from number_problems(attributes, attribute, unit=attribute.rpartition("_")[2], where=where)
        elif _LOOKS_LIKE_ABERRATION.fullmatch(attribute):
            cure = "Write C10_A = -defocus." if attribute.startswith("defocus") else "Rename or remove it."
            yield f"{where}: attribute {attribute} is not known; expected {', '.join(known)}. {cure}"


def read_aberrations(attributes: Mapping[str, Any]) -> dict[str, float]:
    """Return the stored aberrations, name -> value [Å or degrees]."""
    present = [name for name in ABERRATIONS if aberration_attribute(name) in attributes]
    return {name: read_numbers(attributes, aberration_attribute(name))[0] for name in present}


def write_aberrations(attributes: MutableMapping[str, Any], aberrations: Mapping[str, float]) -> None:
    """Store aberrations, name -> value [Å or degrees].

    Raises
    ------
    ValueError
        A name is unknown.
    """
    for name, value in aberrations.items():
        if name not in ABERRATIONS:
            raise ValueError(f"aberration {name!r} is not known; expected one of {', '.join(ABERRATIONS)}.")
        attributes[aberration_attribute(name)] = float(value)


def pose_problems(attributes: Mapping[str, Any], where: str) -> Iterator[str]:
    """Yield what is wrong with the pose."""
    for name in EULER_ANGLES:
        yield from number_problems(attributes, name, unit="deg", where=where)
    yield from number_problems(attributes, "translation_A", size=2, unit="Å (y, x)", where=where)


def read_pose(attributes: Mapping[str, Any]) -> tuple[tuple[float, float, float], tuple[float, float]]:
    """Return the Euler angles (phi, theta, psi) [deg] and the translation (y, x) [Å]."""
    phi, theta, psi = (read_numbers(attributes, name)[0] for name in EULER_ANGLES)
    y, x = read_numbers(attributes, "translation_A")
    return (phi, theta, psi), (y, x)


def write_pose(
    attributes: MutableMapping[str, Any],
    euler_angles: tuple[float, float, float],
    translation: tuple[float, float],
) -> None:
    """Store the Euler angles (phi, theta, psi) [deg] and the translation (y, x) [Å]."""
    for name, angle in zip(EULER_ANGLES, euler_angles, strict=True):
        attributes[name] = float(angle)
    attributes["translation_A"] = np.asarray(translation, dtype=np.float64)
