"""A folder of files that are one tilt: one pattern a file, or some, in the order of the numbers in their names."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.formats.foreign_data import ForeignData
from dptt.io.importers.formats.stacked import Concatenated, by_numbers

Opened = Callable[[Path, str | None], AbstractContextManager[ForeignData]]
DETECTOR_SUFFIXES = (".raw", ".mib", ".blo", ".dm3", ".dm4", ".tif", ".tiff")
SUFFIXES = (*DETECTOR_SUFFIXES, ".npy", ".mrc")
"""Of the files in a folder that can be one tilt together; other files are left alone, such as logs."""


def files_in(folder: Path) -> list[Path]:
    """Return the files of a folder that have the suffix of most of those that can be patterns, in order."""
    files = [file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
    suffixes = [file.suffix.lower() for file in files]
    usual = max(sorted(set(suffixes)), key=suffixes.count, default="")
    chosen = [file for file, suffix in zip(files, suffixes, strict=True) if suffix == usual]
    return sorted(chosen, key=lambda file: by_numbers(file.name))


def as_one(files: list[Path], dataset: str | None, open_file: Opened) -> ForeignData:
    """Return the patterns of all `files`, one after the other; each is opened when its patterns are read.

    A file of one pattern (ky, kx) is one position. Shape, axes and metadata are those of the first file; another one
    of another shape or type is refused when it is read.

    Raises
    ------
    ImportDescriptionError
        A file holds a scan, and is a tilt itself.
    """
    with open_file(files[0], dataset) as first:
        shape, dtype = tuple(int(n) for n in first.array.shape), np.dtype(first.array.dtype)
        axes, metadata, name = first.axes, first.metadata, first.dataset
    if len(shape) > 3:
        folder, suffix = files[0].parent, files[0].suffix
        problem = f"is a folder of {len(files)} files, and {files[0].name} holds a scan {shape}; expected a pattern"
        cure = f"Name the files, if each is a tilt: {folder}/*{suffix}."
        raise ImportDescriptionError(folder, [f"{problem}, or a list of patterns, in each. {cure}"])
    if len(shape) == 2:
        shape, axes = (1, *shape), ("position", "ky", "kx")
    parts = [_File(file, dataset, shape, dtype, open_file) for file in files]
    return ForeignData(Concatenated(parts), axes, metadata, name)


def opened_in_turn(files: list[Path], dataset: str | None, open_file: Opened) -> Iterator[Path]:
    """Open and close every file."""
    for file in files:
        with open_file(file, dataset):
            yield file


@dataclass(frozen=True)
class _File:
    """The patterns of one file, which is open only while they are read."""

    path: Path
    dataset: str | None
    shape: tuple[int, ...]
    dtype: np.dtype
    open_file: Opened

    def __getitem__(self, entries: tuple[int | slice, ...]) -> NDArray[Any]:
        with self.open_file(self.path, self.dataset) as data:
            array, expected = data.array, self.shape
            if len(array.shape) == 2:
                array = np.asarray(array)[None]
            if tuple(array.shape) != expected or np.dtype(array.dtype) != self.dtype:
                got = f"{tuple(array.shape)} of {np.dtype(array.dtype)}"
                problem = f"holds {got}; expected {expected} of {self.dtype}, as the first file of its folder."
                raise ImportDescriptionError(self.path, [f"{problem} Move it elsewhere, or write it again."])
            return np.asarray(array[entries])
