"""Opening a foreign array of any format, or a table of numbers, without reading it."""

import functools
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.errors import ImportDescriptionError
from dptt.io.hdf5_file import damage_reported, naming
from dptt.io.hdf5_storage import uses_plugin
from dptt.io.importers.description import ArraySource
from dptt.io.importers.formats.hdf5_kinds import datasets_of
from dptt.io.importers.formats.stacked import Raster
from dptt.io.importers.recognition import open_foreign
from dptt.io.importers.stacks_and_tables import TEXT_SUFFIXES, read_table
from dptt.io.importers.trial import try_reading

BLOCK_BYTES = 2**24
"""Read between two signs of life."""


@dataclass(frozen=True)
class ForeignArray:
    """An open array with the index of its `ArraySource` applied.

    Parameters
    ----------
    array
        HDF5 dataset, memory map, or anything else that `ForeignData` may hold.
    index
        One entry per axis of `array`; an integer removes the axis.
    path, name
        File and path inside it, for messages.
    """

    array: Any
    index: tuple[int | slice, ...]
    path: str
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape after the index."""
        pairs = zip(self.index, self.array.shape, strict=True)
        return tuple(len(range(*entry.indices(size))) for entry, size in pairs if isinstance(entry, slice))

    @property
    def dtype(self) -> np.dtype:
        """Type of the elements, in the byte order of this machine."""
        return np.dtype(self.array.dtype).newbyteorder("=")

    def read(self, selection: tuple[int | slice, ...]) -> NDArray[Any]:
        """Return the elements at `selection`, one integer or slice of step one for each axis of `shape`."""
        mapping = getattr(self.array, "_mmap", None)
        if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapping.madvise(mmap.MADV_DONTNEED)  # pages that were read before count as memory of the process
        remaining, entries = iter(selection), []
        for entry, size in zip(self.index, self.array.shape, strict=True):
            entries.append(_compose(entry, next(remaining), size) if isinstance(entry, slice) else entry)
        if isinstance(self.array, np.ndarray):
            return np.asarray(self.array[tuple(entries)], self.dtype)
        with damage_reported(self.path, ImportDescriptionError), naming(self.name):
            return np.asarray(self._tried_array[tuple(entries)], self.dtype)

    @functools.cached_property
    def _tried_array(self) -> Any:
        """The array, after a child process has read what plugins of HDF5 decompress: damage may crash them."""
        for dataset in datasets_of(self.array):
            if uses_plugin(dataset):
                blocks = functools.partial(_blocks, dataset)
                try_reading(Path(dataset.file.filename), blocks, purpose=f"chunks of {dataset.name}")
        return self.array

    def read_all(self) -> NDArray[Any]:
        """Return all elements."""
        return self.read((slice(None),) * len(self.shape))


def _blocks(dataset: h5py.Dataset) -> Iterator[None]:
    rows = max(1, BLOCK_BYTES // max(1, dataset.nbytes // max(1, len(dataset))))
    for start in range(0, len(dataset), rows):
        dataset[start : start + rows]
        yield


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
    if path.suffix.lower() in TEXT_SUFFIXES:
        refuse_useless(source, "a table of numbers", "dataset")
        yield _indexed(read_table(path), source)
        return
    with open_foreign(path, source.dataset) as data:
        array = data.array
        if source.scan_shape is not None:
            array = Raster(array, source.scan_shape)
        yield _indexed(array, source)


def refuse_useless(source: ArraySource, kind: str, *names: str) -> None:
    """Raise ImportDescriptionError if `source` sets any of `names`, which have no effect on a file of this `kind`."""
    useless = {name: value for name in names if (value := getattr(source, name)) not in (None, ())}
    if useless:
        got = " and ".join(f"{name} {value!r}" for name, value in useless.items())
        problem = f"is {kind}, which is read as a whole; got the {got}. Leave `{'` and `'.join(useless)}` out."
        raise ImportDescriptionError(source.path, [problem])


def _indexed(array: Any, source: ArraySource) -> ForeignArray:
    where = source.name
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
    whole = (slice(None),) * (array.ndim - len(source.index))
    return ForeignArray(array, (*source.index, *whole), source.path, str(getattr(array, "name", None) or "patterns"))
