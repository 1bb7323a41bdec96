"""Large arrays (z, y, x) in HDF5 files, cut along y: every rank writes and reads only its own rows.

One rank creates the file with everything but the rows (`allocate_rows`). Then all ranks write their rows at once: if
h5py is built with MPI through HDF5 (`open_for_rows` with their mpi4py communicator), otherwise each for itself at
their places in the file (`write_rows_at`). The file is the same. Any rank can read any rows.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.hdf5_writing import LIBRARY_VERSIONS

PIECE_BYTES = 64 * 2**20
"""Rows are copied, sent and written in pieces of this size, so that a slab is never in memory twice."""


def h5py_has_mpi() -> bool:
    """Return whether several ranks can write one file at once."""
    return bool(h5py.get_config().mpi)


def allocate_rows(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> h5py.Dataset:
    """Create the contiguous dataset `name` (z, y, x) with space in the file but without values.

    The space is allocated at once, because no rank alone may extend a file that several ranks write. It is not
    filled, because everything would then be written twice.
    """
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    parent = group.require_group(name.rpartition("/")[0] or ".")
    last = name.rpartition("/")[2].encode()
    h5py.h5d.create(parent.id, last, h5py.h5t.py_create(dtype, logical=True), h5py.h5s.create_simple(shape), creation)
    return group[name]


def open_for_rows(path: Path, mode: str, mpi: Any = None) -> h5py.File:
    """Return `path` opened to write ("r+") or read ("r") rows; with `mpi`, by all its ranks together."""
    if mpi is None:
        return h5py.File(path, mode, libver=LIBRARY_VERSIONS, locking=False)
    return h5py.File(path, mode, libver=LIBRARY_VERSIONS, driver="mpio", comm=mpi)


def pieces(rows: range, row_bytes: int) -> list[range]:
    """Return `rows` in pieces of about `PIECE_BYTES`: at least one piece, which is empty only if `rows` is."""
    step = max(1, PIECE_BYTES // max(row_bytes, 1))
    return [rows[start : start + step] for start in range(0, max(len(rows), 1), step)]


def write_rows(path: Path, name: str, values: NDArray[Any], first: int) -> None:
    """Write `values` (z, rows, x) as the rows from `first` on of the dataset `name`; the file must not be open.

    The rows are written directly, not through HDF5. HDF5 keeps back some of them until the file is closed and cannot
    report then that the disk is full.

    Raises
    ------
    OSError
        The rows cannot be written.
    """
    (start,) = places_of_rows(path, {name: values})
    with open_for_rows(path, "r") as file:
        height = file[name].shape[1]
    write_rows_at(path, start, height, values, first)


def places_of_rows(path: Path, rows: Mapping[str, NDArray[Any]]) -> list[int]:
    """Return the position in the file [bytes] of every dataset that `rows` (z, any rows, x) belong to.

    The file is not kept in the memory of this host: on a network file system, what is kept could be written back over
    the rows that other hosts write.
    """
    places = []
    with open_for_rows(path, "r") as file:
        for name, values in rows.items():
            dataset = file[name]
            assert dataset.dtype == values.dtype and values.shape[::2] == dataset.shape[::2], name
            places.append(dataset.id.get_offset())
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    return places


def write_rows_at(path: Path, start: int, height: int, values: NDArray[Any], first: int) -> None:
    """Write `values` (z, rows, x) as the rows from `first` on of an array of `height` rows that begins at `start`.

    Several processes may do this at once for different rows. The file is opened for writing only.

    Raises
    ------
    OSError
        The rows cannot be written.
    """
    width = values.shape[2]
    descriptor = os.open(path, os.O_WRONLY)
    try:
        for plane, block in enumerate(values):
            position = start + (plane * height + first) * width * values.itemsize
            _write_at(descriptor, np.ascontiguousarray(block).reshape(-1).view(np.uint8).data, position)
    finally:
        os.close(descriptor)


def _write_at(descriptor: int, content: memoryview, position: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, position)
        content, position = content[written:], position + written


def write_rows_collectively(dataset: h5py.Dataset, values: NDArray[Any], first: int, mpi: Any) -> None:
    """Write `values` (z, rows, x) as the rows from `first` on; all ranks of `mpi` call this, each for its own."""
    rows = range(first, first + values.shape[1])
    failure: Exception | None = None
    for piece in _collective_pieces(rows, values, mpi):
        block = np.ascontiguousarray(values[:, piece.start - first : piece.stop - first])
        in_memory, in_file = _selections(dataset.shape, piece)
        try:
            dataset.id.write(in_memory, in_file, block, dxpl=_transfer(mpi))
        except (OSError, RuntimeError) as error:
            failure = error  # raised after the loop: the other ranks wait for this one in the next pieces
    if failure:
        raise failure


def read_rows(dataset: h5py.Dataset, rows: range, mpi: Any = None) -> NDArray[Any]:
    """Return the `rows` of a dataset (z, y, x) as (z, rows, x); with `mpi`, all ranks call this, each for its own."""
    depth, _, width = dataset.shape
    result = np.empty((depth, len(rows), width), dataset.dtype)
    for piece in _collective_pieces(rows, result, mpi):
        block = np.empty((depth, len(piece), width), dataset.dtype)
        in_memory, in_file = _selections(dataset.shape, piece)
        dataset.id.read(in_memory, in_file, block, dxpl=_transfer(mpi))
        result[:, piece.start - rows.start : piece.stop - rows.start] = block
    return result


def _collective_pieces(rows: range, values: NDArray[Any], mpi: Any) -> Iterator[range]:
    """Yield the pieces of `rows`, then empty ones: every rank of `mpi` must make the same number of calls."""
    own_pieces = pieces(rows, values.shape[0] * values.shape[2] * values.itemsize)
    num_calls = len(own_pieces) if mpi is None else _most(len(own_pieces), mpi)
    yield from own_pieces
    yield from [range(rows.stop, rows.stop)] * (num_calls - len(own_pieces))


def _most(number: int, mpi: Any) -> int:
    """Return the largest `number` of all ranks."""
    numbers = np.empty(mpi.Get_size(), np.int64)
    mpi.Allgather(np.array([number], np.int64), numbers)
    return int(numbers.max())


def _selections(shape: tuple[int, ...], rows: range) -> tuple[h5py.h5s.SpaceID, h5py.h5s.SpaceID]:
    """Return the HDF5 selections of `rows`: in memory, where the array holds nothing else, and in the file."""
    depth, _, width = shape
    in_memory = h5py.h5s.create_simple((depth, len(rows), width))
    in_file = h5py.h5s.create_simple(shape)
    if depth * len(rows) * width == 0:
        in_memory.select_none()
        in_file.select_none()
    else:
        in_file.select_hyperslab((0, rows.start, 0), (depth, len(rows), width))
    return in_memory, in_file


def _transfer(mpi: Any) -> h5py.h5p.PropDXID | None:
    if mpi is None:
        return None
    transfer = h5py.h5p.create(h5py.h5p.DATASET_XFER)
    transfer.set_dxpl_mpio(h5py.h5fd.MPIO_COLLECTIVE)
    return transfer
