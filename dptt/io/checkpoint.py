"""Checkpoints: named arrays and numbers in one HDF5 file, whole, checked by SHA-256, with the one before kept.

``arrays/...`` holds the arrays and ``attributes/...`` single values (as datasets: an attribute could not hold a long
configuration). Names may have slashes. At every instant at least one complete checkpoint is on the disk: the old file
is renamed to ``<name>.previous`` only when the new one is complete.
"""

import hashlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.atomic_write import flush_to_disk, write_beside
from dptt.io.dataset_structure import format_problems
from dptt.io.errors import CheckpointError
from dptt.io.hdf5_file import create_file, open_for_reading, text

FORMAT = "dptt-checkpoint"
VERSION = 1
CURE = "Continue from its .previous, or start anew."


def previous_path(path: str | Path) -> Path:
    """Return where the checkpoint before the one at `path` is kept."""
    path = Path(path)
    return path.with_name(f"{path.name}.previous")


def save_checkpoint(
    path: str | Path, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, str | int | float]
) -> None:
    """Write a checkpoint; the one that was at `path` becomes ``<name>.previous``.

    Parameters
    ----------
    path
        File to write.
    arrays
        Name, such as ``"optimiser/momentum"`` -> array of numbers, of any shape.
    attributes
        Name -> single value; integers of at most 64 bits.

    Raises
    ------
    CheckpointError
        A value cannot be stored; nothing is written.
    """
    problems = [*_bad_names(arrays), *_bad_names(attributes)]
    problems += [*_unstorable_arrays(arrays), *_unstorable_attributes(attributes)]
    if problems:
        raise CheckpointError(path, problems)
    path = Path(path)
    with write_beside(path, overwrite=True) as partial:
        with create_file(partial) as file:
            file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
            file.attrs["sha256"] = content_checksum(arrays, attributes)
            for group, content in (("arrays", arrays), ("attributes", attributes)):
                file.create_group(group)
                for name, value in content.items():
                    file[f"{group}/{name}"] = value
        flush_to_disk(partial)  # the new one is complete before the old one moves
        if _opens(path):  # a ruin must not displace a good previous one
            os.replace(path, previous_path(path))


def load_checkpoint(path: str | Path) -> tuple[dict[str, NDArray[Any]], dict[str, str | int | float]]:
    """Return the arrays and attributes of the checkpoint `path`.

    Raises
    ------
    CheckpointError
        The file is missing, truncated, of another format, or its content does not match its checksum.
    """
    with open_for_reading(path, CheckpointError) as file:
        problems = list(format_problems(file, FORMAT, VERSION, CURE))
        if problems:
            raise CheckpointError(path, problems)
        try:
            arrays = {name: np.asarray(dataset[()]) for name, dataset in _datasets(file["arrays"]).items()}
            attributes = {name: _value(dataset[()]) for name, dataset in _datasets(file["attributes"]).items()}
            stored = text(file.attrs["sha256"])
        except (OSError, KeyError, RuntimeError, ValueError) as failure:
            raise CheckpointError(path, [f"is damaged ({failure}). {CURE}"]) from failure
    found = content_checksum(arrays, attributes)
    if found != stored:
        problem = f"content has SHA-256 {found[:12]}...; expected {stored[:12]}..., it was corrupted. {CURE}"
        raise CheckpointError(path, [problem])
    return arrays, attributes


def load_latest_checkpoint(
    path: str | Path,
) -> tuple[dict[str, NDArray[Any]], dict[str, str | int | float], Path]:
    """Return arrays, attributes and the file they came from: `path`, or ``<name>.previous`` if that is unusable.

    Raises
    ------
    CheckpointError
        Neither can be used; both reasons are given.
    """
    problems: list[str] = []
    for candidate in (Path(path), previous_path(path)):
        try:
            return (*load_checkpoint(candidate), candidate)
        except CheckpointError as failure:
            problems += [f"{candidate.name}: {problem}" for problem in failure.problems]
    raise CheckpointError(path, [*problems, "no complete checkpoint is left. Start anew."])


def checkpoint_exists(path: str | Path) -> bool:
    """Return whether `path` or its ``.previous`` is there; loading tells whether it is sound."""
    return Path(path).exists() or previous_path(path).exists()


def _opens(path: Path) -> bool:
    """Return whether the file is there and not truncated."""
    try:
        open_for_reading(path, CheckpointError).close()
    except CheckpointError:
        return False
    return True


def content_checksum(arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any]) -> str:
    """Return the SHA-256 over all names, types, shapes, elements and values."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {np.shape(arrays[name])}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    for name in sorted(attributes):
        value = attributes[name]
        digest.update(f"{name} {type(_value(value)).__name__} {_value(value)!r}\n".encode())
    return digest.hexdigest()


def _value(stored: Any) -> str | int | float:
    """Return a scalar as the Python type it was saved from."""
    if isinstance(stored, bytes | str):
        return text(stored)
    return stored.item() if isinstance(stored, np.generic) else stored


def _datasets(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """Return all datasets below `group`, by their path."""
    found: dict[str, h5py.Dataset] = {}
    group.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return found


def _bad_names(names: Collection[str]) -> list[str]:
    problems = []
    for name in names:
        if not all(name.split("/")):
            problems.append(f"name {name!r} has an empty part; expected such as 'a/b'. Rename it.")
        inside = [other for other in names if other.startswith(f"{name}/")]
        if inside:
            problems.append(f"name {name!r} is that of a value and of the group of {inside[0]!r}. Rename one.")
    return problems


def _unstorable_arrays(arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    return [
        f"array {name!r} has type {array.dtype}; expected numbers. Store it as numbers, or as an attribute."
        for name, array in arrays.items()
        if array.dtype.kind not in "biufc"
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
