"""Checkpoints: named arrays and values in one HDF5 file, verified by SHA-256. The previous checkpoint is kept.

``arrays/...`` holds the arrays and ``attributes/...`` single values (as datasets: an attribute could not hold a long
configuration). Names may have slashes. At least one complete checkpoint is on the disk at any time: the old file is
renamed to ``<name>.previous`` only when the new one is complete.

Large arrays (z, y, x) may be cut along y. Each row y has its own checksum in ``row_sha256/...``, so a rank that reads
only some rows can verify them, no matter how the array was cut when it was written. `create_checkpoint` makes the
file without these rows. Each rank then writes its own rows, prepared by `checked_rows` (see `io.slab_files`).
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
from dptt.io.checksums import (
    CHECKSUM_BYTES,
    CheckpointContent,
    CutArray,
    content_bytes,
    content_checksum,
    mismatch,
    row_checksums,
)
from dptt.io.disk_space import create_with_space
from dptt.io.errors import CheckpointError
from dptt.io.hdf5_file import (
    damage_reported,
    format_problems,
    member,
    plain_value,
    read_array,
    read_attribute,
    reading,
    text,
)
from dptt.io.hdf5_writing import write_array, write_attributes, write_format
from dptt.io.slab_files import allocate_rows, open_for_rows, read_rows, write_rows

FORMAT = "dptt-checkpoint"
VERSION = 2
CURE = "Continue from its .previous file, or start again."

Arrays = dict[str, NDArray[Any]]
Attributes = dict[str, str | int | float]


def previous_path(path: str | Path) -> Path:
    """Return the path of the previous checkpoint."""
    path = Path(path)
    return path.with_name(f"{path.name}.previous")


def save_checkpoint(
    path: str | Path,
    arrays: Mapping[str, NDArray[Any]],
    attributes: Mapping[str, str | int | float],
    cut: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Write a checkpoint from one process; an existing one at `path` becomes ``<name>.previous``.

    Parameters
    ----------
    path
        File to write.
    arrays, attributes
        See `CheckpointContent`.
    cut
        Name -> complete array (z, y, x), to be stored with a checksum for each row.

    Raises
    ------
    CheckpointError
        A value cannot be stored; nothing is written.
    """
    cut = cut or {}
    shapes: dict[str, CutArray] = {name: (array.shape, array.dtype) for name, array in cut.items()}
    with write_beside(path, overwrite=True) as partial:
        create_checkpoint(partial, CheckpointContent(arrays, attributes, shapes), target=path)
        for name, values in checked_rows(cut, 0).items():
            write_rows(partial, name, values, 0)
        keep_previous(partial, Path(path))


def create_checkpoint(path: Path, content: CheckpointContent, *, target: str | Path) -> None:
    """Create a checkpoint at `path`, complete but for the rows of the cut arrays; it will be renamed to `target`.

    Raises
    ------
    CheckpointError
        A value cannot be stored; nothing is written.
    """
    problems = storing_problems(content)
    if problems:
        raise CheckpointError(target, problems)
    with create_with_space(path, content_bytes(content)) as file:
        write_format(file, FORMAT, VERSION)
        write_attributes(file.attrs, {"sha256": content_checksum(content)})
        values: Mapping[str, Any]
        for group, values in (("arrays", content.arrays), ("attributes", content.attributes)):
            file.create_group(group)
            for name, value in values.items():
                write_array(file, f"{group}/{name}", value)
        for name, (shape, dtype) in content.cut.items():
            allocate_rows(file, f"arrays/{name}", shape, dtype)
            allocate_rows(file, f"row_sha256/{name}", (1, shape[1], CHECKSUM_BYTES), np.dtype(np.uint8))


def checked_rows(cut: Mapping[str, NDArray[Any]], first: int) -> Arrays:
    """Return the datasets to write for rows from `first` on: name -> (z, rows, x), the rows and their checksums."""
    rows = {f"arrays/{name}": values for name, values in cut.items()}
    return rows | {f"row_sha256/{name}": row_checksums(name, values, first) for name, values in cut.items()}


def keep_previous(partial: Path, path: Path) -> None:
    """Rename the checkpoint at `path` to ``<name>.previous``; call this just before `partial` takes its place."""
    flush_to_disk(partial)  # the new one must be complete before the old one moves
    if _opens(path):  # a damaged file must not replace a good previous one
        os.replace(path, previous_path(path))


def load_checkpoint(path: str | Path) -> tuple[Arrays, Attributes]:
    """Return all arrays, including all rows of those that are cut, and the attributes of the checkpoint `path`.

    Raises
    ------
    CheckpointError
        The file is missing, truncated, of another format, or its content does not match its checksums.
    """
    content = read_checkpoint(path)
    arrays = dict(content.arrays)
    for name, (shape, _) in content.cut.items():
        arrays |= read_checkpoint_rows(path, [name], range(shape[1]))
    return arrays, dict(content.attributes)


def read_checkpoint(path: str | Path) -> CheckpointContent:
    """Return the content of the checkpoint `path`, without the rows of the cut arrays.

    Raises
    ------
    CheckpointError
        The file is missing, truncated, of another format, or its content does not match its checksum.
    """
    with reading(path, CheckpointError, CURE) as file:
        problems = list(format_problems(file, FORMAT, VERSION, CURE)) or outdated_problems(file, VERSION)
        if problems:
            raise CheckpointError(path, problems)
        checksums = member(file, "row_sha256")
        rows = {} if checksums is None else _datasets(checksums)
        stored = _datasets(file["arrays"])
        content = CheckpointContent(
            arrays={name: read_array(file["arrays"], name) for name in stored if name not in rows},
            attributes={
                name: plain_value(read_array(file["attributes"], name)[()]) for name in _datasets(file["attributes"])
            },
            cut={name: (stored[name].shape, stored[name].dtype) for name in rows},
        )
        expected = text(read_attribute(file.attrs, "sha256"))
    checksum = content_checksum(content)
    if checksum != expected:
        problem = f"content has SHA-256 {checksum[:12]}...; expected {expected[:12]}..., it was corrupted. {CURE}"
        raise CheckpointError(path, [problem])
    return content


def read_checkpoint_rows(path: str | Path, names: Collection[str], rows: range, mpi: Any = None) -> Arrays:
    """Return the `rows` along y of the cut arrays `names`, as (z, rows, x).

    With an mpi4py communicator `mpi`, all its ranks call this together, each for its own rows.

    Raises
    ------
    CheckpointError
        A row cannot be read, or does not match its checksum.
    """
    arrays, damaged = {}, []
    with damage_reported(path, CheckpointError, CURE), open_for_rows(Path(path), "r", mpi) as file:
        for name in names:
            arrays[name] = read_rows(file[f"arrays/{name}"], rows, mpi)
            expected = read_rows(file[f"row_sha256/{name}"], rows, mpi)
            damaged.append(mismatch(name, arrays[name], rows.start, expected))
    damaged = [rows for rows in damaged if rows]
    if damaged:
        raise CheckpointError(path, [f"{'; '.join(damaged)}: they were corrupted. {CURE}"])
    return arrays


def load_latest_checkpoint(
    path: str | Path, load: Callable[[Path], tuple[Arrays, Attributes]] = load_checkpoint
) -> tuple[Arrays, Attributes, Path]:
    """Return the result of `load` for `path`, or for ``<name>.previous`` if `path` is unusable, and the path used.

    Raises
    ------
    CheckpointError
        Neither can be used; both reasons are listed.
    """
    problems: list[str] = []
    for candidate in (Path(path), previous_path(path)):
        try:
            return (*load(candidate), candidate)
        except CheckpointError as failure:
            problems += [f"{candidate.name}: {problem}" for problem in failure.problems]
    raise CheckpointError(path, [*problems, "no complete checkpoint is left. Start again."])


def checkpoint_exists(path: str | Path) -> bool:
    """Return whether `path` or its ``.previous`` exists; whether it is sound shows only when it is loaded."""
    return Path(path).exists() or previous_path(path).exists()


def _opens(path: Path) -> bool:
    """Return whether the file exists and is not truncated."""
    try:
        with reading(path, CheckpointError):
            pass
    except CheckpointError:
        return False
    return True


def _datasets(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """Return all datasets below `group`, path -> dataset."""
    datasets: dict[str, h5py.Dataset] = {}
    group.visititems(lambda name, item: datasets.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return datasets
