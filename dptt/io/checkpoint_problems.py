"""Reasons why values cannot be stored in a checkpoint, and why an older checkpoint cannot be used."""

from collections.abc import Collection, Mapping
from typing import Any

import h5py
import numpy as np

from dptt.io.checksums import CheckpointContent
from dptt.io.hdf5_file import text


def storing_problems(content: CheckpointContent) -> list[str]:
    """Return why `content` cannot be stored."""
    types = {name: array.dtype for name, array in content.arrays.items()}
    types |= {name: dtype for name, (_, dtype) in content.cut.items()}
    return [
        *_bad_names(types),
        *_bad_names(content.attributes),
        *_unstorable_arrays(types),
        *_unstorable_attributes(content.attributes),
    ]


def outdated_problems(file: h5py.File, version: int) -> list[str]:
    """Return why a checkpoint of an older version cannot be used: its rows have no checksums."""
    stored = int(file.attrs["version"])
    if stored == version:
        return []
    writer = file.get("attributes/version_dptt")
    by = f", written by dptt {text(writer[()])}" if isinstance(writer, h5py.Dataset) else ""
    cure = "Finish the run with the dptt that started it, or start again."
    return [f"is of version {stored}{by}; expected {version}. {cure}"]


def _bad_names(names: Collection[str]) -> list[str]:
    problems = []
    for name in names:
        if not all(name.split("/")):
            problems.append(f"name {name!r} has an empty part; expected a name such as 'a/b'. Rename it.")
        members = [member for member in names if member.startswith(f"{name}/")]
        if members:
            problems.append(f"name {name!r} is both a value and the group of {members[0]!r}. Rename one of them.")
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
