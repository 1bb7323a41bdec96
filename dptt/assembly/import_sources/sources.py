"""What is known of a series before it is imported, and how differences between configuration and files are said."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dptt.io.importers import Recognised
from dptt.io.importers.description import ArraySource
from dptt.io.importers.formats.foreign_data import shown

SAME = 0.01
"""Relative difference between the configuration and a file, or two files, that is not worth a word."""


@dataclass
class Sources:
    """What is known of the series after files and configuration were compared.

    Parameters
    ----------
    arrays
        The array of every file.
    recognised
        What each file is.
    values
        `axes`, `energy` [eV], `semiangle_cutoff` [mrad], `scan.step` [Å], `detector.angular_sampling` [mrad],
        `tilt_angles` [deg].
    said
        What came from the files, as lines of a log.
    warnings
        Where configuration and files contradict each other.
    """

    arrays: list[ArraySource]
    recognised: list[Recognised]
    values: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def first(values: Sequence[Any]) -> Any:
    """Return the first value that is not None."""
    return next((value for value in values if value is not None), None)


def same(told: Any, other: Any) -> bool:
    """Return whether two numbers, or pairs of numbers, differ by less than is worth a word."""
    pairs = zip(told, other, strict=True) if isinstance(told, tuple) else [(told, other)]
    return all(math.isclose(a, b, rel_tol=SAME) for a, b in pairs)


def contradiction(name: str, told: Any, other: Any, unit: str) -> str:
    """Return the sentence that configuration and file say different things of `name`."""
    return (
        f"import.{name} is {shown(told)} {unit}, but the file says {shown(other)} {unit}. The configuration is used. "
        "Correct it if the file is right."
    ).replace("  ", " ")
