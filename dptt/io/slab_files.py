"""Arrays (z, y, x) in HDF5 files, cut along y: whoever holds rows writes and reads them, none the whole array.

One process makes the file with everything in it but the rows (`allocate_rows`). The rows are then written by several
processes at once where h5py is built with MPI (`open_for_rows` with their mpi4py communicator), or by one process,
slab after slab. The file is the same. Any process reads any rows.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.hdf5_file import LIBRARY_VERSIONS

PIECE_BYTES = 64 * 2**20
"""Rows are copied, sent and written in pieces of this size, so that a slab is not held twice."""


def h5py_has_mpi() -> bool:
    """Return whether several processes can write one file at once."""
    return bool(h5py.get_config().mpi)


def allocate_rows(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> h5py.Dataset:
    """Make the dataset `name` (z, y, x), contiguous, with its place in the file but without values.

    The place is taken at once, because no process alone may move the end of a file that several write; it is not
    filled, because that would write everything twice.
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
    """Return `path` opened to write ("r+") or read ("r") rows, by all processes of `mpi` together if given."""
    if mpi is None:
        return h5py.File(path, mode, libver=LIBRARY_VERSIONS, locking=False)
    return h5py.File(path, mode, libver=LIBRARY_VERSIONS, driver="mpio", comm=mpi)


def pieces(rows: range, row_bytes: int) -> list[range]:
    """Return `rows` in pieces of about `PIECE_BYTES`, at least one piece and at least a row in each."""
    step = max(1, PIECE_BYTES // max(row_bytes, 1))
    return [rows[start : start + step] for start in range(0, max(len(rows), 1), step)]


def write_rows(path: Path, name: str, values: NDArray[Any], first: int) -> None:
    """Write `values` (z, rows, x) as the rows from `first` on of the dataset `name`, which nobody has open.

    They go to their place in the file without HDF5, which keeps parts of them back until the file is closed and then
    cannot say that the disk is full.

    Raises
    ------
    OSError
        They cannot be written.
    """
    with open_for_rows(path, "r") as file:
        depth, height, width = file[name].shape
        start = file[name].id.get_offset()
        assert file[name].dtype == values.dtype and values.shape[::2] == (depth, width), name
    with path.open("r+b", buffering=0) as raw:
        for plane in range(depth):
            position = start + (plane * height + first) * width * values.itemsize
            _write_at(raw.fileno(), np.ascontiguousarray(values[plane]).reshape(-1).view(np.uint8).data, position)


def _write_at(descriptor: int, content: memoryview, position: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, position)
        content, position = content[written:], position + written


def write_rows_collectively(dataset: h5py.Dataset, values: NDArray[Any], first: int, mpi: Any) -> None:
    """Write `values` (z, rows, x) as the rows from `first` on; every process of `mpi` its own, all at once."""
    rows = range(first, first + values.shape[1])
    failure: Exception | None = None
    for piece in _collective_pieces(rows, values, mpi):
        part = np.ascontiguousarray(values[:, piece.start - first : piece.stop - first])
        in_memory, in_file = _selections(dataset.shape, piece)
        try:
            dataset.id.write(in_memory, in_file, part, dxpl=_transfer(mpi))
        except (OSError, RuntimeError) as error:
            failure = error  # later: the other processes wait for this one in the pieces that follow
    if failure:
        raise failure


def read_rows(dataset: h5py.Dataset, rows: range, mpi: Any = None) -> NDArray[Any]:
    """Return the `rows` of a dataset (z, y, x) as (z, rows, x); with `mpi` collectively, each process its own."""
    depth, _, width = dataset.shape
    result = np.empty((depth, len(rows), width), dataset.dtype)
    for piece in _collective_pieces(rows, result, mpi):
        part = np.empty((depth, len(piece), width), dataset.dtype)
        in_memory, in_file = _selections(dataset.shape, piece)
        dataset.id.read(in_memory, in_file, part, dxpl=_transfer(mpi))
        result[:, piece.start - rows.start : piece.stop - rows.start] = part
    return result


def _collective_pieces(rows: range, values: NDArray[Any], mpi: Any) -> Iterator[range]:
    """Yield the pieces of `rows`, then empty ones until every process of `mpi` has had as many: all must call."""
    own = pieces(rows, values.shape[0] * values.shape[2] * values.itemsize)
    most = len(own) if mpi is None else max(mpi.allgather(len(own)))
    yield from own
    yield from [range(rows.stop, rows.stop)] * (most - len(own))


def _selections(shape: tuple[int, ...], rows: range) -> tuple[h5py.h5s.SpaceID, h5py.h5s.SpaceID]:
    """Return the HDF5 selections of `rows` in memory, where there is nothing else, and in the file."""
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
