"""Which format a foreign file is of, from its content, and what it says about itself. Start at `recognise`."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from dptt.io.errors import ImportDescriptionError
from dptt.io.hdf5_file import damage_reported
from dptt.io.importers.folder_of_files import SUFFIXES, Opened, as_one, files_in, opened_in_turn
from dptt.io.importers.formats import empad, matlab, mrc, nion, numpy_files, rosettasciio, tiff, zarr_store
from dptt.io.importers.formats.foreign_data import ForeignData, Format, Metadata
from dptt.io.importers.formats.hdf5_kinds import kind_of, open_hdf5
from dptt.io.importers.stacks_and_tables import MRC_SUFFIXES
from dptt.io.importers.trial import try_reading

FORMATS = (
    mrc.FORMAT,
    *rosettasciio.FORMATS,
    matlab.FORMAT,
    tiff.FORMAT,
    nion.FORMAT,
    zarr_store.FORMAT,
    numpy_files.FORMAT,
    empad.FORMAT,
)
"""MRC comes first, as its word is certain; EMPAD last, as it has none and is recognised by its size."""
CRASHING = (open_hdf5, matlab.open_data, tiff.open_data)
"""Readers that a damaged file can make crash or run for ever."""
HEAD_BYTES = 512


@dataclass(frozen=True)
class Recognised:
    """What a foreign file is.

    Parameters
    ----------
    path
        The file or folder.
    kind
        Name of its format, as a user calls it.
    dataset
        Path of the array inside the file, where there can be several.
    shape, dtype
        Of the array.
    axes
        Meaning of its axes, out of `description.AXES`; empty if the format does not tell.
    metadata
        What the file says about the measurement.
    """

    path: Path
    kind: str
    dataset: str | None
    shape: tuple[int, ...]
    dtype: np.dtype
    axes: tuple[str, ...]
    metadata: Metadata


def recognise(path: str | Path, dataset: str | None = None) -> Recognised:
    """Return the format of the file or folder `path`, the shape of its patterns and its metadata; no pattern is read.

    Parameters
    ----------
    path
        A file of any format that `dptt import` reads, a zarr folder, or a folder of files that are one tilt.
    dataset
        Path of the array inside the file, if it holds several.

    Raises
    ------
    ImportDescriptionError
        It cannot be read, is of no format that dptt knows, or holds no array, or several and `dataset` is None.
    """
    path = Path(path)
    with open_foreign(path, dataset) as data:
        shape = tuple(int(size) for size in data.array.shape)
        return Recognised(
            path, kind_name(path), data.dataset, shape, np.dtype(data.array.dtype), data.axes, data.metadata
        )


def kind_name(path: Path) -> str:
    """Return what a user calls the format of `path`."""
    if files := _files_of_one_tilt(path):
        return f"{len(files)} files of {kind_name(files[0])}"
    chosen = _format_of(path)
    return kind_of(path).name if chosen is None else chosen.name


@contextmanager
def open_foreign(path: Path, dataset: str | None = None) -> Iterator[ForeignData]:
    """Yield the array of patterns in `path`, of whatever format it is; its file is closed when the block ends.

    Raises
    ------
    ImportDescriptionError
        As for `recognise`.
    """
    with _opened(path, dataset) as data:
        if dataset is not None and data.dataset is None:
            problem = f"holds one array ({kind_name(path)}), without a name; got the dataset {dataset!r}."
            raise ImportDescriptionError(path, [f"{problem} Leave `dataset` out."])
        yield data


@contextmanager
def _opened(path: Path, dataset: str | None) -> Iterator[ForeignData]:
    """Yield the array of patterns; a format that holds one alone takes no notice of `dataset`."""
    if files := _files_of_one_tilt(path):
        open_file = _opener(files[0])
        if open_file in CRASHING:
            try_reading(path, lambda: opened_in_turn(files, dataset, open_file))
        with damage_reported(path, ImportDescriptionError):
            yield as_one(files, dataset, open_file)
        return
    open_data = _opener(path)
    if open_data in CRASHING:
        try_reading(path, lambda: ExitStack().enter_context(open_data(path, dataset)))
    with ExitStack() as opened:
        with damage_reported(path, ImportDescriptionError):
            data = opened.enter_context(open_data(path, dataset))
            np.dtype(
                data.array.dtype
            )  # h5py refuses some types, such as integers of 3 bytes, when it is asked for them
        yield data


def _files_of_one_tilt(path: Path) -> list[Path]:
    """Return the files of a folder that are one tilt together; none if `path` is a file or a store."""
    return files_in(path) if path.is_dir() and _recognised_format(path, b"") is None else []


def _recognised_format(path: Path, head: bytes) -> Format | None:
    """Return the first format that a file or folder, which begins with `head`, is of; HDF5 is none of them."""
    return next((entry for entry in FORMATS if _recognises(entry, path, head)), None)


def _opener(path: Path) -> Opened:
    chosen = _format_of(path)
    return open_hdf5 if chosen is None else chosen.open_data


def _format_of(path: Path) -> Format | None:
    """Return the format of `path`, None for HDF5.

    Raises
    ------
    ImportDescriptionError
        It cannot be read, or is of no format that dptt knows.
    """
    if not path.exists() and path.suffix.lower() not in (".npy", ".npz", *MRC_SUFFIXES):
        problem = "there is no such file. Check the path (it is relative to the current folder)."
        raise ImportDescriptionError(path, [problem])
    head = _head(path)
    if path.is_file() and h5py.is_hdf5(path):
        return None
    chosen = _recognised_format(path, head)
    if chosen is None and path.is_dir():
        problem = "is a folder without a zarr store, and without files of one tilt"
        problem = f"{problem} ({', '.join(SUFFIXES)}). Name the file of patterns inside it."
        raise ImportDescriptionError(path, [problem])
    if chosen is None and path.suffix.lower() not in (".h5", ".hdf5", ".hdf", ".emd", ".hspy", ".nxs", ".mat"):
        names = ", ".join(entry.name for entry in FORMATS)
        size = path.stat().st_size
        problem = f"is of no known format ({size} bytes, beginning with {head[:8]!r}); expected HDF5, {names}."
        raise ImportDescriptionError(path, [f"{problem} See docs/formats.md."])
    return chosen


def _recognises(entry: Format, path: Path, head: bytes) -> bool:
    """Return whether a file is of a format; one that is too damaged to tell is not."""
    try:
        return entry.recognises(path, head)
    except Exception:  # whatever the parsers of zip files and other containers raise
        return False


def _head(path: Path) -> bytes:
    if not path.is_file():
        return b""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as failure:
        raise ImportDescriptionError(path, [f"cannot be read ({failure}). Change its permissions."]) from failure
