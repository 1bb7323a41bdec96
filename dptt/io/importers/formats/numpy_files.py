"""NumPy: .npy, mapped into memory, and a member of .npz."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.formats.foreign_data import ForeignData, Format
from dptt.io.importers.formats.hdf5_kinds import no_dataset

NAME = "NumPy (.npy, .npz)"


def recognises(path: Path, head: bytes) -> bool:
    """Return whether a file begins as NumPy begins it, or is called .npy or .npz."""
    return head.startswith(b"\x93NUMPY") or path.suffix.lower() in (".npy", ".npz")


@contextmanager
def open_data(path: Path, dataset: str | None) -> Iterator[ForeignData]:
    """Yield the array. All of a member of an .npz file is read, because members cannot be mapped into memory."""
    with _numpy_errors(path):
        if path.suffix.lower() != ".npz":
            array, name = np.load(path, mmap_mode="r", allow_pickle=False), None
        else:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as members:
                names = list(members.files)
                name = names[0] if dataset is None and len(names) == 1 else dataset
                array = members[name] if name in names else None
    if array is None:
        raise ImportDescriptionError(path, [no_dataset(name, names)])
    yield ForeignData(array, dataset=name)


@contextmanager
def _numpy_errors(path: Path) -> Iterator[None]:
    """Raise NumPy's errors about the file `path` as an ImportDescriptionError."""
    try:
        yield
    except FileNotFoundError as failure:
        raise ImportDescriptionError(path, ["there is no such file. Check the path."]) from failure
    except Exception as failure:  # a damaged header makes NumPy and zipfile raise whatever their parsers do
        raise ImportDescriptionError(path, [f"cannot be read by NumPy ({failure}). Save it again."]) from failure


FORMAT = Format(NAME, recognises, open_data)
