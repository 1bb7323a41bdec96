"""MATLAB: v5 files (also v6, v7), and v7.3, which are HDF5.

MATLAB stores the first axis fastest. Both versions are read in the order of the storage: an array
(ky, kx, n) of MATLAB has the axes (n, kx, ky) here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.formats.foreign_data import ForeignData, Format
from dptt.io.importers.formats.optional import library

NAME = "MATLAB v5"


def recognises(path: Path, head: bytes) -> bool:
    """Return whether a file begins as MATLAB before 7.3 begins it."""
    return head.startswith(b"MATLAB 5.0 MAT-file")


@contextmanager
def open_data(path: Path, dataset: str | None) -> Iterator[ForeignData]:
    """Yield one variable; all of it is read, which is at most 2 GiB in this format."""
    scipy_io = library("scipy.io", path, NAME)
    try:
        shapes = {name: shape for name, shape, kind in scipy_io.whosmat(path)}
        name = _chosen(path, shapes, dataset)
        array = scipy_io.loadmat(path, variable_names=[name])[name]
    except ImportDescriptionError:
        raise
    except Exception as failure:  # a damaged file makes SciPy raise whatever its parsers do
        raise ImportDescriptionError(path, [f"cannot be read as {NAME} ({failure}). Save it again."]) from failure
    yield ForeignData(np.asarray(array).T, dataset=name)


def is_matlab(file: h5py.File) -> bool:
    """Return whether a variable of MATLAB is in `file`."""
    return any("MATLAB_class" in item.attrs for item in file.values() if item is not None)


def open_matlab(file: h5py.File) -> ForeignData:
    """Return the only variable of at least three dimensions."""
    shapes = {name: item.shape for name, item in file.items() if isinstance(item, h5py.Dataset)}
    name = _chosen(Path(file.filename), shapes, None)
    return ForeignData(file[name], dataset=name)


def _chosen(path: Path, shapes: dict[str, tuple[int, ...]], name: str | None) -> str:
    """Return the variable that is named, else the only one of at least three dimensions."""
    large = [entry for entry, shape in shapes.items() if len(shape) >= 3]
    chosen = name if name is not None else large[0] if len(large) == 1 else None
    if chosen not in shapes:
        listing = ", ".join(f"{entry} {shape}" for entry, shape in list(shapes.items())[:12]) or "none"
        raise ImportDescriptionError(path, [f"has no variable {name!r}; it has: {listing}. Set dataset to one."])
    return str(chosen)


FORMAT = Format(NAME, recognises, open_data)
