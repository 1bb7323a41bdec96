"""Checkpoints: named arrays and numbers in one HDF5 file, whole, checked by SHA-256, with the one before kept.

``arrays/...`` holds the arrays and ``attributes/...`` single values (as datasets: an attribute could not hold a long
configuration). Names may have slashes. At every instant at least one complete checkpoint is on the disk: the old file
is renamed to ``<name>.previous`` only when the new one is complete.

Large arrays (z, y, x) may be cut along y. Each row y has a checksum of its own in ``row_sha256/...``, so that whoever
reads some rows can verify just these, however the array was cut when it was written. The file is made without their
rows (`create_checkpoint`), which are then written as `checked_rows` by whoever holds them (`io.slab_files`).
"""

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.atomic_write import flush_to_disk, write_beside
from dptt.io.checkpoint_problems import outdated_problems, storing_problems
from dptt.io.checksums import CHECKSUM_BYTES, CutArray, content_bytes, content_checksum, plain_value, row_checksums
from dptt.io.dataset_structure import format_problems
from dptt.io.errors import CheckpointError
from dptt.io.hdf5_file import open_for_reading, text
from dptt.io.room import create_with_room
from dptt.io.slab_files import allocate_rows, open_for_rows, read_rows, write_rows

FORMAT = "dptt-checkpoint"
VERSION = 2
CURE = "Continue from its .previous, or start anew."

Arrays = dict[str, NDArray[Any]]
Attributes = dict[str, str | int | float]


def previous_path(path: str | Path) -> Path:
    """Return where the checkpoint before the one at `path` is kept."""
    path = Path(path)
    return path.with_name(f"{path.name}.previous")


def save_checkpoint(
    path: str | Path,
    arrays: Mapping[str, NDArray[Any]],
    attributes: Mapping[str, str | int | float],
    cut: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write a checkpoint from one process; the one that was at `path` becomes ``<name>.previous``.

    Parameters
    ----------
    path
        File to write.
    arrays
        Name, such as ``"optimiser/momentum"`` -> array of numbers, of any shape.
    attributes
        Name -> single value; integers of at most 64 bits.
    cut
        Name -> array (z, y, x), whole here, of which others may read some rows.

    Raises
    ------
    CheckpointError
        A value cannot be stored; nothing is written.
    """
    cut = cut or {}
    shapes: dict[str, CutArray] = {name: (array.shape, array.dtype) for name, array in cut.items()}
    with write_beside(path, overwrite=True) as partial:
        create_checkpoint(partial, arrays, attributes, shapes, path)
        for name, values in checked_rows(cut, 0).items():
            write_rows(partial, name, values, 0)
        keep_previous(partial, Path(path))


def create_checkpoint(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    attributes: Mapping[str, str | int | float],
    cut: Mapping[str, CutArray],
    target: str | Path,
) -> None:
    """Make the file `path`, to become the checkpoint `target`, with everything but the rows of the `cut` arrays.

    Raises
    ------
    CheckpointError
        A value cannot be stored; nothing is written.
    """
    problems = storing_problems(arrays, attributes, cut)
    if problems:
        raise CheckpointError(target, problems)
    with create_with_room(path, content_bytes(arrays, attributes, cut)) as file:
        file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
        file.attrs["sha256"] = content_checksum(arrays, attributes, cut)
        for group, content in (("arrays", arrays), ("attributes", attributes)):
            file.create_group(group)
            for name, value in content.items():
                file[f"{group}/{name}"] = value
        for name, (shape, dtype) in cut.items():
            allocate_rows(file, f"arrays/{name}", shape, dtype)
            allocate_rows(file, f"row_sha256/{name}", (1, shape[1], CHECKSUM_BYTES), np.dtype(np.uint8))


def checked_rows(cut: Mapping[str, NDArray[Any]], first: int) -> Arrays:
    """Return what must be written of rows that begin at `first`: dataset -> (z, rows, x), the rows and checksums."""
    rows = {f"arrays/{name}": values for name, values in cut.items()}
    return rows | {f"row_sha256/{name}": row_checksums(name, values, first) for name, values in cut.items()}


def keep_previous(partial: Path, path: Path) -> None:
    """Let the checkpoint at `path` become the previous one: `partial`, complete, is about to take its place."""
    flush_to_disk(partial)  # the new one is complete before the old one moves
    if _opens(path):  # a ruin must not displace a good previous one
        os.replace(path, previous_path(path))


def load_checkpoint(path: str | Path) -> tuple[Arrays, Attributes]:
    """Return all arrays, whole, and the attributes of the checkpoint `path`.

    Raises
    ------
    CheckpointError
        The file is missing, truncated, of another format, or its content does not match its checksums.
    """
    arrays, attributes, cut = read_checkpoint(path)
    for name, (shape, _) in cut.items():
        arrays |= read_checkpoint_rows(path, [name], range(shape[1]))
    return arrays, attributes


def read_checkpoint(path: str | Path) -> tuple[Arrays, Attributes, dict[str, CutArray]]:
    """Return the arrays that are not cut, the attributes, and shape and type of those that are.

    Raises
    ------
    CheckpointError
        As for `load_checkpoint`, for what was read.
    """
    with open_for_reading(path, CheckpointError) as file:
        problems = list(format_problems(file, FORMAT, VERSION, CURE)) or outdated_problems(file, VERSION)
        if problems:
            raise CheckpointError(path, problems)
        try:
            rows = _datasets(file["row_sha256"]) if "row_sha256" in file else {}
            stored = _datasets(file["arrays"])
            cut: dict[str, CutArray] = {name: (stored[name].shape, stored[name].dtype) for name in rows}
            arrays = {name: np.asarray(dataset[()]) for name, dataset in stored.items() if name not in cut}
            attributes = {name: plain_value(dataset[()]) for name, dataset in _datasets(file["attributes"]).items()}
            expected = text(file.attrs["sha256"])
        except (OSError, KeyError, RuntimeError, ValueError) as failure:
            raise CheckpointError(path, [f"is damaged ({failure}). {CURE}"]) from failure
    found = content_checksum(arrays, attributes, cut)
    if found != expected:
        problem = f"content has SHA-256 {found[:12]}...; expected {expected[:12]}..., it was corrupted. {CURE}"
        raise CheckpointError(path, [problem])
    return arrays, attributes, cut


def read_checkpoint_rows(path: str | Path, names: Collection[str], rows: range, mpi: Any = None) -> Arrays:
    """Return the `rows` along y of the cut arrays `names`, as (z, rows, x).

    With the mpi4py communicator `mpi`, all its processes call this together, each for rows of its own.

    Raises
    ------
    CheckpointError
        A row cannot be read, or does not match its checksum.
    """
    found, damaged = {}, []
    try:
        with open_for_rows(Path(path), "r", mpi) as file:
            for name in names:
                found[name] = read_rows(file[f"arrays/{name}"], rows, mpi)
                expected = read_rows(file[f"row_sha256/{name}"], rows, mpi)
                differ = (row_checksums(name, found[name], rows.start) != expected).any((0, 2))
                if differ.any():
                    first = rows[int(differ.argmax())]
                    damaged.append(
                        f"{differ.sum()} row(s) of {name}, the first y = {first}, do not match their SHA-256"
                    )
    except (OSError, KeyError, RuntimeError, ValueError) as failure:
        raise CheckpointError(path, [f"is damaged ({failure}). {CURE}"]) from failure
    if damaged:
        raise CheckpointError(path, [f"{'; '.join(damaged)}: they were corrupted. {CURE}"])
    return found


def load_latest_checkpoint(
    path: str | Path, load: Callable[[Path], tuple[Arrays, Attributes]] = load_checkpoint
) -> tuple[Arrays, Attributes, Path]:
    """Return what `load` returns of `path`, or of ``<name>.previous`` if that is unusable, and which file it was.

    Raises
    ------
    CheckpointError
        Neither can be used; both reasons are given.
    """
    problems: list[str] = []
    for candidate in (Path(path), previous_path(path)):
        try:
            return (*load(candidate), candidate)
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


def _datasets(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """Return all datasets below `group`, by their path."""
    found: dict[str, h5py.Dataset] = {}
    group.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return found
