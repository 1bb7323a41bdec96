"""Memory and time of one update of a volume cut into slabs; start it with torchrun, one process per slab.

    torchrun --nproc-per-node=4 scripts/measure_slabs.py --size 256

Every rank holds its rows of a complex64 volume and of its momentum, and updates them once from a few positions of one
tilt, 25° about the tilt axis and `--off-axis` degrees about the others. The patterns are vacuum with shot noise: the
script measures memory and traffic, not the quality of the volume.
"""

import argparse
import ctypes
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import torch

from dptt.assembly.settings import reconstruction_settings
from dptt.config.reconstruction import ReconstructionConfig
from dptt.distributed.joining import open_communicator
from dptt.distributed.launch import detect_placement
from dptt.distributed.mesh import Mesh
from dptt.model.forward import Geometry
from dptt.model.state import TomographyState
from dptt.physics.probe import make_probe
from dptt.solvers.tomography import EpochRecord, reconstruct


class FlatPatterns:
    """Patterns of vacuum: the bright disk of the probe with shot noise."""

    name, scale, mask, seconds_reading = "0000", 1.0, None, 0.0

    def __init__(self, probe: torch.Tensor) -> None:
        self._mean = torch.fft.fft2(probe, norm="ortho").abs().square().sum(0)
        self.mean_electrons = float(self._mean.sum())

    def read(self, indices: torch.Tensor) -> torch.Tensor:
        """Return one pattern for each index; a pattern depends only on its index, not on the rank."""
        noise = [torch.poisson(self._mean, torch.Generator().manual_seed(int(i))) for i in indices]
        return torch.stack(noise) if noise else torch.zeros((0, *self._mean.shape))

    def prefetch(self, indices: torch.Tensor) -> None:
        """Do nothing: no pattern is on a disk."""

    def usable(self, indices: torch.Tensor) -> torch.Tensor:
        """Return that all patterns are usable."""
        return torch.ones(len(indices), dtype=torch.bool)


def memory(key: str) -> float:
    """Return ``VmHWM`` (peak) or ``VmRSS`` (now) of this process [MiB]."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    """Return free memory to the system and reset the high-water mark."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Measure, and print one line per rank."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="voxels along each axis")
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--positions", type=int, default=64, help="scan positions, a square number")
    parser.add_argument("--off-axis", type=float, default=0.5, help="phi and psi [degrees]")
    parser.add_argument("--scan-ranks", type=int, default=1, help="ranks that share the positions of a slab")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    with open_communicator(detect_placement(os.environ)) as world:
        mesh = Mesh.of(world, slabs=world.size // options.scan_ranks)
        update_once(argparse.Namespace(**vars(options) | {"size": 128}), mesh)  # triggers late imports
        forget_peak()
        print_result(options, mesh, update_once(options, mesh))


def update_once(options: argparse.Namespace, mesh: Mesh) -> dict:
    """Return memory, time and traffic of one update on this rank."""
    n, voxel = options.size, 0.4
    geometry = Geometry(300e3, (n, n, n), (voxel, voxel, voxel), (64, 64), options.slices)
    probe = make_probe(
        (64, 64), (voxel, voxel), wavelength=geometry.wavelength, semiangle=20.0, aberrations={}, electrons=1e4
    )[None].to(torch.complex64)
    side = int(options.positions**0.5)
    line = (torch.arange(side).double() - (side - 1) / 2) * (n - 80) * voxel / max(side - 1, 1)
    positions = torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=-1).reshape(-1, 2)
    rows, off = mesh.rows(n), options.off_axis
    before = memory("VmRSS")
    state = TomographyState.initial(
        (n, len(rows), n),
        torch.complex64,
        [probe],
        [positions],
        torch.tensor([[off, 25.0, off]], dtype=torch.float64),
        torch.zeros((1, 2), dtype=torch.float64),
    )
    records: list[EpochRecord] = []
    options = ReconstructionConfig(epochs=1, batches=1, validation_fraction=0.0)
    settings = replace(reconstruction_settings(options), chunk_bytes=None)
    began = time.perf_counter()
    reconstruct(state, [FlatPatterns(probe)], geometry, settings, mesh, records.append)
    return {
        "rank": mesh.world.rank,
        "rows": len(rows),
        "share_MiB": state.volume.numel() * 8 / 2**20,
        "before_MiB": before,
        "peak_MiB": memory("VmHWM"),
        "seconds": time.perf_counter() - began,
        "sent_MB": records[0].bytes_sent / 1e6,
        "norm_V": float(state.volume.abs().square().sum().double()) ** 0.5,
    }


def print_result(options: argparse.Namespace, mesh: Mesh, result: dict) -> None:
    """Print every rank's numbers on rank 0."""
    lines = [json.loads(text) for text in mesh.world.gather_messages(json.dumps(result))]
    if mesh.world.rank == 0:
        whole = options.size**3 * 8 / 2**20
        print(
            f"{options.size}³ complex64 = {whole:.0f} MiB on {mesh.slab.size} slab(s) x {mesh.scan.size} scan rank(s)"
        )
        for line in lines:
            held = line["peak_MiB"] - line["before_MiB"]
            print(
                f"  rank {line['rank']}: {line['rows']} rows, share {line['share_MiB']:.0f} MiB, peak "
                f"{held:.0f} MiB = {held / line['share_MiB']:.2f} shares above the {line['before_MiB']:.0f} MiB of "
                f"Python and torch, {line['seconds']:.1f} s, sent {line['sent_MB']:.2f} MB, |V| {line['norm_V']:.6g}"
            )
        print(json.dumps({"size": options.size, "slabs": mesh.slab.size, "ranks": lines}))


if __name__ == "__main__":
    main()
