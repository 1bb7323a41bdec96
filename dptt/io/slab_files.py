"""Large arrays (z, y, x) in HDF5 files, cut along y: every rank writes and reads only its own rows.

One rank creates the file with everything but the rows (`allocate_rows`). If h5py is built with MPI, several ranks
then write their rows at once (`open_for_rows` with their mpi4py communicator); otherwise one rank writes slab after
slab. The file is the same. Any rank can read any rows.
"""

import os
from collections.abc import Iterator
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
    num_calls = len(own_pieces) if mpi is None else max(mpi.allgather(len(own_pieces)))
    yield from own_pieces
    yield from [range(rows.stop, rows.stop)] * (num_calls - len(own_pieces))


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
