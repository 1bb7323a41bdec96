"""Write the file of a volume that no rank holds completely: every rank writes its own rows, all at the same time."""

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dptt.distributed.comm import Communicator
from dptt.distributed.mesh import Mesh
from dptt.distributed.partition import block_range
from dptt.io.atomic_write import flush_to_disk, write_beside
from dptt.io.slab_files import (
    h5py_has_mpi,
    open_for_rows,
    pieces,
    places_of_rows,
    read_rows,
    write_rows_at,
    write_rows_collectively,
)
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

    The ranks of one volume write at the same time: through HDF5 where h5py and the communicator have MPI, otherwise
    at the places in the file that rank 0 announces. The ranks agree three times, however many they are and however
    large the rows. No rank ever holds the complete volume.

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
    world, partial, places = mesh.world, Path(), [0]
    with ExitStack() as files:
        with failing_together(world, path), world.working(f"writing {path.name}", alone=world.rank == 0):
            if world.rank == 0:
                partial = files.enter_context(write_beside(path, overwrite=True))
                create(partial)
                places = places_of_rows(partial, rows)
        name, places = json.loads(world.gather_messages(json.dumps([str(partial), places]))[0])
        partial = Path(name)
        with failing_together(world, path), world.working(f"writing {path.name}"):
            if world.rank < mesh.slab.size:  # the first ranks hold one volume together, see `Mesh`
                _write_rows(partial, places, mesh.slab, height, rows)
        with failing_together(world, path), world.working(f"completing {path.name}", alone=world.rank == 0):
            if world.rank == 0:
                before_replacing(partial)
                files.close()


def _write_rows(partial: Path, places: list[int], slab: Communicator, height: int, rows: Rows) -> None:
    """Write the rows of this rank; one that fails takes part in all calls of the others before it raises."""
    mpi, first = mpi_for_files(slab), block_range(height, slab.size, slab.rank).start
    if mpi is None:
        for place, values in zip(places, rows.values(), strict=True):
            write_rows_at(partial, place, height, values, first)
        flush_to_disk(partial)  # what this host still holds
        return
    failures = []
    with open_for_rows(partial, "r+", mpi) as file:
        for name, values in rows.items():
            try:
                write_rows_collectively(file[name], values, first, mpi)
            except (OSError, RuntimeError) as error:
                failures.append(error)
    if failures:
        raise failures[0]
    flush_to_disk(partial)
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
