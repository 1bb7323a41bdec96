"""Opening a foreign array, without reading it: HDF5 datasets, .npy, .npz, MRC and text files."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.errors import ImportDescriptionError
from dptt.io.hdf5_file import damage_reported, naming, open_for_reading
from dptt.io.importers.description import ArraySource
from dptt.io.importers.stacks_and_tables import MRC_SUFFIXES, TEXT_SUFFIXES, open_mrc, read_table


@dataclass(frozen=True)
class ForeignArray:
    """An open array with the index of its `ArraySource` applied.

    Parameters
    ----------
    array
        HDF5 dataset, memory map or array.
    index
        One entry per axis of `array`; an integer removes the axis.
    """

    array: Any
    index: tuple[int | slice, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape after the index."""
        pairs = zip(self.index, self.array.shape, strict=True)
        return tuple(len(range(*entry.indices(size))) for entry, size in pairs if isinstance(entry, slice))

    @property
    def dtype(self) -> np.dtype:
        """Type of the elements."""
        return self.array.dtype

    def read(self, selection: tuple[int | slice, ...]) -> NDArray[Any]:
        """Return the elements at `selection`, one integer or slice of step one for each axis of `shape`."""
        remaining, entries = iter(selection), []
        for entry, size in zip(self.index, self.array.shape, strict=True):
            entries.append(_compose(entry, next(remaining), size) if isinstance(entry, slice) else entry)
        if not isinstance(self.array, h5py.Dataset):
            return np.asarray(self.array[tuple(entries)])
        with damage_reported(self.array.file.filename, ImportDescriptionError), naming(str(self.array.name)):
            return np.asarray(self.array[tuple(entries)])

    def read_all(self) -> NDArray[Any]:
        """Return all elements."""
        return self.read((slice(None),) * len(self.shape))


def _compose(outer: slice, inner: int | slice, size: int) -> int | slice:
    """Return the index into an axis of `size` that selects `inner` out of the elements selected by `outer`."""
    selected = range(*outer.indices(size))[inner]
    return slice(selected.start, selected.stop, selected.step) if isinstance(selected, range) else selected


@contextmanager
def open_array(source: ArraySource) -> Iterator[ForeignArray]:
    """Yield the array that `source` names; its file is closed when the block ends.

    Raises
    ------
    ImportDescriptionError
        The file, the dataset in it, or the index does not exist.
    """
    path = Path(source.path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        yield _indexed(_load_numpy(path), source)
    elif suffix == ".npz":
        yield _indexed(_load_npz_member(path, source.dataset), source)
    elif suffix in TEXT_SUFFIXES:
        yield _indexed(read_table(path), source)
    elif suffix in MRC_SUFFIXES:
        with open_mrc(path) as stack:
            yield _indexed(stack, source)
    else:
        with open_for_reading(path, ImportDescriptionError) as file:
            yield _indexed_dataset(file, source)


def _indexed_dataset(file: h5py.File, source: ArraySource) -> ForeignArray:
    with damage_reported(source.path, ImportDescriptionError):
        dataset = file.get(source.dataset) if source.dataset else None
        if not isinstance(dataset, h5py.Dataset):
            names: list[str] = []
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            raise ImportDescriptionError(source.path, [_no_dataset(source.dataset, names)])
        return _indexed(dataset, source)


def _no_dataset(name: str | None, existing: list[str]) -> str:
    listing = ", ".join(existing[:12]) + (", ..." if len(existing) > 12 else "")
    return f"has no dataset {name!r}; it has: {listing or 'none'}. Name one of these."


@contextmanager
def _numpy_errors(path: Path) -> Iterator[None]:
    """Raise NumPy's errors about the file `path` as an ImportDescriptionError."""
    try:
        yield
    except FileNotFoundError as failure:
        raise ImportDescriptionError(path, ["there is no such file. Check the path."]) from failure
    except Exception as failure:  # a damaged header makes NumPy and zipfile raise whatever their parsers do
        raise ImportDescriptionError(path, [f"cannot be read by NumPy ({failure}). Save it again."]) from failure


def _load_numpy(path: Path) -> NDArray[Any]:
    with _numpy_errors(path):
        return np.load(path, mmap_mode="r", allow_pickle=False)


def _load_npz_member(path: Path, name: str | None) -> NDArray[Any]:
    """Return a member of an .npz file. All of it is read, because members cannot be mapped into memory."""
    with _numpy_errors(path), path.open("rb") as file, np.load(file, allow_pickle=False) as members:
        names, array = members.files, members[name] if name in members.files else None
    if array is None:
        raise ImportDescriptionError(path, [_no_dataset(name, names)])
    return array


def _indexed(array: Any, source: ArraySource) -> ForeignArray:
    where = f"{source.path}:{source.dataset}" if source.dataset else source.path
    if array.dtype.kind not in "biufc":
        problem = f"holds elements of type {str(array.dtype)[:80]}; expected numbers. Name another array."
        raise ImportDescriptionError(where, [problem])
    if len(source.index) > array.ndim:
        problem = (
            f"index {source.index} has {len(source.index)} entries; expected at most {array.ndim}. Correct index."
        )
        raise ImportDescriptionError(where, [problem])
    for entry, size in zip(source.index, array.shape, strict=False):
        if isinstance(entry, int) and not 0 <= entry < size:
            raise ImportDescriptionError(
                where, [f"index {entry} is not in an axis of {size}; expected 0 to {size - 1}. Correct index."]
            )
        if isinstance(entry, slice) and entry.step is not None and entry.step < 1:
            raise ImportDescriptionError(
                where, [f"index {entry} has a step below 1; expected 1 or more. Correct index."]
            )
    return ForeignArray(array, (*source.index, *(slice(None),) * (array.ndim - len(source.index))))
