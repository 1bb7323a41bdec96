"""Zarr: a folder or a zip file, of version 2 or 3; also .zspy of HyperSpy."""

import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.formats.foreign_data import ForeignData, Format
from dptt.io.importers.formats.hdf5_kinds import no_dataset
from dptt.io.importers.formats.hyperspy import is_hyperspy, open_hyperspy
from dptt.io.importers.formats.optional import library

NAME = "zarr"
ENTRY = b"PK\1\2"
"""What every entry in the directory of a zip file begins with."""
MARKERS = (".zarray", ".zgroup", "zarr.json", ".zmetadata")


def recognises(path: Path, head: bytes) -> bool:
    """Return whether a folder, or a zip file, has one of the files that every zarr store has."""
    if path.is_dir():
        return any((path / marker).is_file() for marker in MARKERS)
    if not head.startswith(b"PK") or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as members:
        return any(name.rsplit("/", 1)[-1] in MARKERS for name in members.namelist())


@contextmanager
def open_data(path: Path, dataset: str | None) -> Iterator[ForeignData]:
    """Yield the array that `dataset` names; without a name, the only one of at least three dimensions."""
    with open_store(path) as root:
        if hasattr(root, "shape"):
            yield ForeignData(root)
        elif dataset is None and is_hyperspy(root):
            yield open_hyperspy(root)
        else:
            names = array_names(path)
            large = [name for name in names if root[name].ndim >= 3] if dataset is None else []
            name = dataset.strip("/") if dataset else large[0] if len(large) == 1 else None
            if name not in names:
                raise ImportDescriptionError(path, [no_dataset(dataset, names)])
            yield ForeignData(root[name], dataset=name)


@contextmanager
def open_store(path: Path) -> Iterator[Any]:
    """Yield the group or array at the root of a store."""
    zarr = library("zarr", path, NAME)
    try:
        if not path.is_dir():
            _check_names(path)
        store = str(path) if path.is_dir() else zarr.storage.ZipStore(str(path), mode="r")
        root = zarr.open(store, mode="r")
    except Exception as failure:  # a damaged store makes zarr raise whatever its parsers do
        raise ImportDescriptionError(path, [f"cannot be read as zarr ({failure}). Copy it again."]) from failure
    try:
        yield root
    finally:
        if not isinstance(store, str):
            store.close()


def _check_names(path: Path) -> None:
    """Raise an error unless every member of a zip file has the same name in front of it as in the directory.

    A chunk whose name is damaged would be missing, and zarr reads zeros in its place. Contents have checksums.
    """
    with zipfile.ZipFile(path) as members:
        for member in members.infolist():
            if ENTRY in member.comment + member.extra:  # a wrong length takes the members behind it for a comment
                raise ValueError(f"the entry of {member.filename} in its directory is damaged")
            members.open(member).close()


def array_names(path: Path) -> list[str]:
    """Return the path of every array of numbers in a store; zarr 3 cannot open arrays of objects."""
    if path.is_dir():
        names = _names_in_folder(path)
        kinds = {name: _is_array((path / name).read_bytes()) for name in names}
    else:
        with zipfile.ZipFile(path) as members:
            names = [name for name in members.namelist() if name.rsplit("/", 1)[-1] in (".zarray", "zarr.json")]
            kinds = {name: _is_array(members.read(name)) for name in names}
    return sorted(name.rpartition("/")[0] for name, is_array in kinds.items() if is_array)


def _names_in_folder(folder: Path) -> list[str]:
    """Return the metadata files below `folder`, without looking among the chunks of an array."""
    names = []
    for place, folders, files in os.walk(folder):
        metadata = next((name for name in (".zarray", "zarr.json") if name in files), None)
        if metadata is not None:
            names.append(str((Path(place) / metadata).relative_to(folder)))
            if _is_array((Path(place) / metadata).read_bytes(), any_type=True):
                folders.clear()
    return names


def _is_array(metadata: bytes, any_type: bool = False) -> bool:
    """Return whether `metadata`, of zarr 2 or 3, is of an array, and of numbers unless it may be of `any_type`."""
    try:
        tree = json.loads(metadata)
    except ValueError:
        return False
    if "dtype" in tree:
        return any_type or (isinstance(tree["dtype"], str) and tree["dtype"][1:2] in tuple("biufc"))
    return tree.get("node_type") == "array" and (any_type or tree.get("data_type") != "string")


FORMAT = Format(NAME, recognises, open_data)
