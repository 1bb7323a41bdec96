"""Time to write and read a volume that several ranks hold: all at once, by way of rank 0, or gathered on rank 0.

    mpirun -n 4 python scripts/measure_io.py FOLDER --size 512

Every rank holds its rows of a complex64 volume. The first two ways are those of `dptt reconstruct`: through MPI where
h5py is built with it (with what it costs to read back what was written), else piece by piece; the third holds the
whole volume on rank 0, which no run does. Each ends with the file complete under its name, flushed to the disk.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dptt.distributed.joining import open_communicator
from dptt.distributed.launch import detect_placement
from dptt.distributed.mesh import Mesh
from dptt.distributed.partition import block_range
from dptt.io.slab_files import open_for_rows, read_rows
from dptt.io.volumes import create_volume, write_volume
from dptt.runtime import row_output as slab_output
from dptt.runtime.row_output import mpi_for_files, write_together

VOXEL = (0.5, 0.5, 0.5)


def main() -> None:
    """Measure every way `--times` times, and print the best time and the most memory of any rank."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to write; several ranks must see it")
    parser.add_argument("--size", type=int, default=512, help="voxels along each axis; 512 makes 1 GiB")
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    with open_communicator(detect_placement(os.environ)) as world:
        mesh = Mesh.of(world, slabs=world.size)
        rows = mesh.rows(options.size)
        random = np.random.default_rng(world.rank)
        own = random.standard_normal((options.size, len(rows), 2 * options.size), np.float32).view(np.complex64)
        path = options.folder / "measured.h5"
        ways: dict[str, Callable[[], None]] = {}
        if mpi_for_files(world) is not None:
            ways["all ranks through MPI"] = lambda: together(path, mesh, options.size, own)
        ways["piece by piece to rank 0"] = lambda: without_mpi(lambda: together(path, mesh, options.size, own))
        ways["gathered on rank 0"] = lambda: gathered(path, mesh, options.size, own)
        if world.rank == 0:
            print(f"{options.size}³ complex64 = {options.size**3 * 8 / 2**30:.2f} GiB on {world.size} rank(s)")
        for name, way in ways.items():
            measure(f"write  {name}", way, mesh, options.times)
        ways = {"each its rows, alone": lambda: read(path, own, rows, None)}
        if mpi_for_files(world) is not None:
            ways["each its rows, through MPI"] = lambda: read(path, own, rows, mpi_for_files(world))
        for name, way in ways.items():
            measure(f"read   {name}", way, mesh, options.times)
        if world.rank == 0:
            path.unlink()


def measure(name: str, way: Callable[[], None], mesh: Mesh, times: int) -> None:
    """Print the best time of `way`, and the memory that it took beyond what every rank held before."""
    seconds, peak = [], 0.0
    for _ in range(times):
        mesh.world.any(False)
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before, began = memory("VmRSS"), time.perf_counter()
        way()
        seconds.append(mesh.world.maximum(time.perf_counter() - began))
        peak = max(peak, mesh.world.maximum(memory("VmHWM") - before))
    if mesh.world.rank == 0:
        print(f"  {name:34s} {min(seconds):6.2f} s  (of {times}: {', '.join(f'{s:.2f}' for s in seconds)})", end="")
        print(f"   at most {peak:.0f} MiB more on a rank")


def memory(what: str) -> float:
    """Return ``VmHWM`` (peak) or ``VmRSS`` (now) of this process [MiB]."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) / 1024


def together(path: Path, mesh: Mesh, size: int, own: np.ndarray) -> None:
    """Write as a run does."""
    whole = ((size, size, size), own.dtype)
    write_together(path, mesh, size, lambda file: create_volume(file, whole, VOXEL, target=path), {"volume": own})


def without_mpi(work: Callable[[], None]) -> None:
    """Do `work` as if h5py had no MPI."""
    has_mpi = slab_output.h5py_has_mpi
    slab_output.h5py_has_mpi = lambda: False
    work()
    slab_output.h5py_has_mpi = has_mpi


def gathered(path: Path, mesh: Mesh, size: int, own: np.ndarray) -> None:
    """Send everything to rank 0 and write it there."""
    world = mesh.world
    if world.rank > 0:
        world.exchange({0: torch.from_numpy(own)}, {})
    else:
        blocks = {r: block_range(size, world.size, r) for r in range(1, world.size)}
        parts = {r: torch.empty((size, len(b), size), dtype=torch.complex64) for r, b in blocks.items()}
        world.exchange({}, parts)
        whole = np.concatenate([own, *(part.numpy() for part in parts.values())], axis=1)
        write_volume(path, whole, VOXEL, overwrite=True)
    world.any(False)


def read(path: Path, own: np.ndarray, rows: range, mpi: object) -> None:
    """Read the rows of this rank; they must be what was written."""
    with open_for_rows(path, "r", mpi) as file:
        found = read_rows(file["volume"], rows, mpi)
    assert np.array_equal(found[:, -1], own[:, -1])


if __name__ == "__main__":
    main()
