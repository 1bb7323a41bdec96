"""HDF5 files: which program wrote one is read from its groups and attributes."""

import fnmatch
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from dptt.io.errors import ImportDescriptionError
from dptt.io.hdf5_file import damage_reported, open_for_reading
from dptt.io.hdf5_storage import unreadable
from dptt.io.importers.formats.dectris import is_dectris, open_dectris
from dptt.io.importers.formats.emd import is_emd, open_emd
from dptt.io.importers.formats.foreign_data import ForeignData
from dptt.io.importers.formats.hyperspy import is_hyperspy, open_hyperspy
from dptt.io.importers.formats.matlab import is_matlab, open_matlab
from dptt.io.importers.formats.nexus import is_nexus, open_nexus
from dptt.io.importers.formats.nion import is_nion, open_nion
from dptt.io.importers.formats.stacked import Concatenated, Raster, by_numbers
from dptt.io.importers.formats.stempy import is_stempy, open_stempy
from dptt.io.importers.formats.velox import is_velox, open_velox

SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Hdf5Kind:
    """A layout of HDF5 files: its name, how it is recognised, and how it is opened."""

    name: str
    is_kind: Callable[[h5py.File], bool]
    open: Callable[[h5py.File], ForeignData]


def _is_any(file: h5py.File) -> bool:
    return True


def _open_plain(file: h5py.File) -> ForeignData:
    """Return the only array of at least three dimensions."""
    names: list[str] = []
    large: list[h5py.Dataset] = []

    def collect(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            names.append(name)
            if item.ndim >= 3 and item.dtype.kind in "iuf":
                large.append(item)

    file.visititems(collect)
    if len(large) == 1:
        return ForeignData(large[0], dataset=str(large[0].name).lstrip("/"))
    several = f"has {len(large)} arrays of three dimensions or more, not one; {listed(names)}"
    cure = "Name it in `dataset`, or with a star several that are one after the other, such as entry/data/data_*."
    raise ImportDescriptionError(file.filename, [f"{several} {cure}"])


KINDS = (
    Hdf5Kind("HyperSpy (.hspy)", is_hyperspy, open_hyperspy),
    Hdf5Kind("EMD (NCEM, py4DSTEM)", is_emd, open_emd),
    Hdf5Kind("Velox (.emd)", is_velox, open_velox),
    Hdf5Kind("Dectris master file", is_dectris, open_dectris),
    Hdf5Kind("stempy electron events", is_stempy, open_stempy),
    Hdf5Kind("Nion Swift (.h5, .nhdf)", is_nion, open_nion),
    Hdf5Kind("MATLAB v7.3", is_matlab, open_matlab),
    Hdf5Kind("NeXus", is_nexus, open_nexus),
    Hdf5Kind("HDF5", _is_any, _open_plain),
)


def no_dataset(name: str | None, existing: list[str]) -> str:
    """Return the sentence that a file has no dataset `name`, and which it has."""
    return f"has no dataset {name!r}; {listed(existing)} Name one of these."


def listed(existing: list[str]) -> str:
    """Return the half of a sentence that says which datasets a file has."""
    return f"it has: {', '.join(existing[:12]) or 'none'}{', ...' * (len(existing) > 12)}."


def kind_of(path: Path) -> Hdf5Kind:
    """Return the layout of the HDF5 file `path`."""
    with open_for_reading(path, ImportDescriptionError) as file, damage_reported(path, ImportDescriptionError):
        return _kind(file)


def _kind(file: h5py.File) -> Hdf5Kind:
    return next(kind for kind in KINDS if kind.is_kind(file))


@contextmanager
def open_hdf5(path: Path, dataset: str | None) -> Iterator[ForeignData]:
    """Yield the array that `dataset` names; without a name, the one that the file's layout tells."""
    with open_for_reading(path, ImportDescriptionError) as file:
        with damage_reported(path, ImportDescriptionError):
            data = _named(file, dataset) if dataset else _kind(file).open(file)
            problems = [f"{part.name} {why}" for part in datasets_of(data.array) if (why := unreadable(part))]
        if problems:
            raise ImportDescriptionError(path, problems)
        yield data


def _named(file: h5py.File, dataset: str) -> ForeignData:
    """Return the array `dataset`, with axes and metadata if it is the one that the file's layout tells.

    A name with a star stands for several arrays, one after the other in the order of the numbers in their names.
    """
    item = file.get(dataset)
    if isinstance(item, h5py.Dataset):
        try:
            told = _kind(file).open(file)
        except Exception:  # several arrays, files missing, a layout that only looks like another: the name is enough
            told = ForeignData(item)
        return told if told.dataset == dataset.strip("/") else ForeignData(item, dataset=dataset)
    names: list[str] = []
    file.visititems(lambda name, entry: names.append(name) if isinstance(entry, h5py.Dataset) else None)
    matching = sorted(fnmatch.filter(names, dataset.strip("/")), key=by_numbers)
    if not matching:
        raise ImportDescriptionError(file.filename, [no_dataset(dataset, names)])
    parts = [file[name] for name in matching]
    if len({(part.shape[1:], part.dtype) for part in parts}) > 1 or parts[0].ndim < 2:
        shapes = ", ".join(f"{part.name} {part.shape} {part.dtype}" for part in parts[:5])
        problem = f"dataset {dataset!r} stands for arrays that do not continue each other: {shapes}. Correct it."
        raise ImportDescriptionError(file.filename, [problem])
    return ForeignData(Concatenated(parts), dataset=dataset)


def datasets_of(array: Any) -> list[h5py.Dataset]:
    """Return the HDF5 datasets that `array` is made of, none if it is of another format."""
    if isinstance(array, Raster):
        return datasets_of(array.frames)
    if isinstance(array, Concatenated):
        return [dataset for part in array.arrays for dataset in datasets_of(part)]
    return [array] if isinstance(array, h5py.Dataset) else []
