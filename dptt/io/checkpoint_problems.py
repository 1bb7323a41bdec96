"""Why something cannot be stored in a checkpoint, or a checkpoint of an older version not be used."""

from collections.abc import Collection, Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.checksums import CutArray
from dptt.io.hdf5_file import text


def storing_problems(
    arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any], cut: Mapping[str, CutArray]
) -> list[str]:
    """Return why these arrays, single values, and arrays cut along y cannot be stored."""
    types = {name: array.dtype for name, array in arrays.items()} | {name: dtype for name, (_, dtype) in cut.items()}
    return [
        *_bad_names(types),
        *_bad_names(attributes),
        *_unstorable_arrays(types),
        *_unstorable_attributes(attributes),
    ]


def outdated_problems(file: h5py.File, version: int) -> list[str]:
    """Return why a checkpoint of an older version cannot be used: its rows had no checksums."""
    found = int(file.attrs["version"])
    if found == version:
        return []
    writer = file.get("attributes/version_dptt")
    by = f", written by dptt {text(writer[()])}" if isinstance(writer, h5py.Dataset) else ""
    return [
        f"is of version {found}{by}; expected {version}. Finish that run with the dptt that began it, or start anew."
    ]


def _bad_names(names: Collection[str]) -> list[str]:
    problems = []
    for name in names:
        if not all(name.split("/")):
            problems.append(f"name {name!r} has an empty part; expected such as 'a/b'. Rename it.")
        inside = [other for other in names if other.startswith(f"{name}/")]
        if inside:
            problems.append(f"name {name!r} is that of a value and of the group of {inside[0]!r}. Rename one.")
    return problems


def _unstorable_arrays(types: Mapping[str, np.dtype[Any]]) -> list[str]:
    return [
        f"array {name!r} has type {dtype}; expected numbers. Store it as numbers, or as an attribute."
        for name, dtype in types.items()
        if dtype.kind not in "biufc"
    ]


def _unstorable_attributes(attributes: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, value in attributes.items():
        if not isinstance(value, str | int | float):
            problems.append(
                f"attribute {name!r} is a {type(value).__name__}; expected str, int or float. Convert it."
            )
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            problems.append(f"attribute {name!r} is {value}; expected at most 64 bits. Store it as text.")
    return problems
