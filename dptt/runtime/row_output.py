"""Write the file of a volume that no rank holds completely: every rank writes its rows, or sends them to rank 0."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dptt.distributed.comm import Communicator
from dptt.distributed.mesh import Mesh
from dptt.distributed.partition import block_range
from dptt.io.atomic_write import flush_to_disk, write_beside
from dptt.io.slab_files import h5py_has_mpi, open_for_rows, pieces, read_rows, write_rows, write_rows_collectively
from dptt.runtime.agreement import failing_together

Rows = Mapping[str, NDArray[Any]]
"""Dataset -> (z, own rows, x)."""


def mpi_for_files(communicator: Communicator) -> Any:
    """Return the mpi4py communicator with which the ranks open a file together; None if they cannot."""
    return getattr(communicator, "mpi", None) if h5py_has_mpi() else None


def mpi_for_reading(communicator: Communicator) -> Any:
    """Return the same for files that a second thread reads ahead; None also if MPI allows one thread only."""
    return mpi_for_files(communicator) if getattr(communicator, "many_threads", False) else None


def write_together(
    path: Path,
    mesh: Mesh,
    height: int,
    create: Callable[[Path], None],
    rows: Rows,
    before_replacing: Callable[[Path], None] = lambda partial: None,
) -> None:
    """Write a file from the rows of all ranks, completely or not at all, and replace `path` by it.

    Where h5py and the communicator have MPI, the ranks of one volume write at the same time. Otherwise rank 0 writes
    the rows that the others send, one piece at a time. No rank ever holds the complete volume.

    Parameters
    ----------
    height
        Rows of the complete volume.
    create
        Creates the file with everything but the rows; called on rank 0.
    rows
        Of this rank.
    before_replacing
        Called on rank 0 with the complete file that is about to become `path`.

    Raises
    ------
    WriteError
        On every rank, if any rank could not write; `path` is unchanged.
    """
    world, partial = mesh.world, Path()
    with ExitStack() as files:
        with failing_together(world, path), world.working(f"writing {path.name}", alone=world.rank == 0):
            if world.rank == 0:
                partial = files.enter_context(write_beside(path, overwrite=True))
                create(partial)
        partial = Path(world.gather_messages(str(partial))[0])
        with failing_together(world, path), world.working(f"writing {path.name}"):
            if world.rank < mesh.slab.size:  # the first ranks hold one volume together, see `Mesh`
                _write_rows(partial, path, mesh.slab, height, rows)
        with failing_together(world, path), world.working(f"completing {path.name}", alone=world.rank == 0):
            if world.rank == 0:
                before_replacing(partial)
                files.close()


def _write_rows(partial: Path, path: Path, slab: Communicator, height: int, rows: Rows) -> None:
    mpi = mpi_for_files(slab)
    if mpi is None:
        for name, values in rows.items():
            _send_to_first(partial, path, slab, height, name, values)
        return
    first = block_range(height, slab.size, slab.rank).start
    with open_for_rows(partial, "r+", mpi) as file:
        for name, values in rows.items():
            with failing_together(slab, path):
                write_rows_collectively(file[name], values, first, mpi)
    with failing_together(slab, path):
        flush_to_disk(partial)  # what this host still holds
        _read_back(partial, rows, first)


def _read_back(partial: Path, rows: Rows, first: int) -> None:
    """Check that `rows` are in the file: collective writes of Open MPI 4.1 report success on a full disk."""
    with open_for_rows(partial, "r") as file:
        for name, values in rows.items():
            for piece in pieces(range(values.shape[1]), values.shape[0] * values.shape[2] * values.itemsize):
                stored = read_rows(file[name], range(first + piece.start, first + piece.stop))
                if stored.tobytes() != values[:, piece.start : piece.stop].tobytes():
                    raise OSError(
                        f"MPI reported success, but {name} in the file differs from the data; is the disk full?"
                    )


def _send_to_first(
    partial: Path, path: Path, slab: Communicator, height: int, name: str, values: NDArray[Any]
) -> None:
    """Let rank 0 write its own rows, then those that the other ranks send, in order."""
    depth, _, width = values.shape
    for owner in range(slab.size):
        block = block_range(height, slab.size, owner)
        for piece in pieces(block, depth * width * values.itemsize):
            rows = np.empty((depth, len(piece) if slab.rank == 0 else 0, width), values.dtype)
            if slab.rank == owner:
                rows = np.ascontiguousarray(values[:, piece.start - block.start : piece.stop - block.start])
            if owner != 0 and len(piece):
                message = torch.from_numpy(rows)
                slab.exchange({0: message} if slab.rank == owner else {}, {owner: message} if slab.rank == 0 else {})
            with failing_together(slab, path):
                if slab.rank == 0:
                    write_rows(partial, name, rows, piece.start)
