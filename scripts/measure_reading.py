"""Time of an epoch on a series that is not held in memory, with and without reading ahead.

    python scripts/measure_reading.py --folder /scratch --tilts 6 --compression gzip

The script writes a series of noise, drops it from the page cache before every epoch (no special rights needed) and
reconstructs. With reading ahead, another thread reads the next minibatch during the computation. Both ways do the
same arithmetic, which the script checks. It reports the best of `--repeats` epochs, alternating between the two ways.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from dptt.assembly.problem import build_problem
from dptt.config import load_config
from dptt.distributed.mesh import Mesh
from dptt.io.dataset import TiltSeries
from dptt.io.dataset_writer import write_tilt_series
from dptt.io.series_data import SeriesHeader, TiltData
from dptt.model.patterns import PatternReader
from dptt.solvers.tomography import EpochRecord, reconstruct

SCAN, STEP = (24, 24), 0.5  # [Å]


def write_series(folder: Path, tilts: int, side: int, compression: str | None) -> Path:
    """Write a series of tilts with side x side pixels, and return a configuration for it."""
    random = np.random.default_rng(0)
    y, x = np.indices((side, side)) - side // 2
    disk = np.where(np.hypot(y, x) < side / 10, 5.0, 0.05)
    positions = STEP * (np.indices(SCAN).reshape(2, -1).T - np.array(SCAN) / 2)

    def patterns() -> np.ndarray:
        return random.poisson(disk, (len(positions), side, side)).astype(np.uint16)

    series = (
        TiltData(patterns(), positions, (0.0, 120.0 * (n / tilts - 0.5), 0.0), scan_shape=SCAN) for n in range(tilts)
    )
    header = SeriesHeader(300e3, 20.0, (200.0 / side, 200.0 / side), {"C10": -100.0})
    write_tilt_series(folder / "series.h5", header, series, compression=compression)
    config = folder / "reading.yaml"
    config.write_text(
        f"series: {folder}/series.h5\nrun: {folder}/run\nvolume: {{thickness: 8, num_slices: 1, voxel_size: 0.45}}\n"
        "reconstruction: {data_memory: 0, batches: 8, epochs: 1}\n"
    )
    return config


def drop_from_cache(path: Path) -> None:
    """Make sure that the file is next read from the disk."""
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)


def epoch(config_path: Path, ahead: bool) -> EpochRecord:
    """Return the record of one epoch from a cold cache."""
    config = load_config(config_path, [])
    records: list[EpochRecord] = []
    prefetch = PatternReader.prefetch
    with TiltSeries.open(config.series) as series:
        problem = build_problem(config, series)
        drop_from_cache(config.series)
        if not ahead:
            PatternReader.prefetch = lambda self, indices: None  # type: ignore[method-assign]
        try:
            reconstruct(
                problem.state, problem.tilts, problem.geometry, problem.settings, Mesh.serial(), records.append
            )
        finally:
            PatternReader.prefetch = prefetch  # type: ignore[method-assign]
    return records[0]


def main() -> None:
    """Measure, and print one line for each way and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="folder on the disk to be measured"
    )
    parser.add_argument("--tilts", type=int, default=6)
    parser.add_argument("--side", type=int, default=256, help="edge of the detector [pixels]; the model uses a part")
    parser.add_argument("--compression", choices=["none", "gzip"], default="none")
    parser.add_argument("--repeats", type=int, default=3)
    choice = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=choice.folder) as folder:
        compression = None if choice.compression == "none" else choice.compression
        config = write_series(Path(folder), choice.tilts, choice.side, compression)
        size = (Path(folder) / "series.h5").stat().st_size / 2**20
        records: dict[bool, list[EpochRecord]] = {False: [], True: []}
        for _ in range(choice.repeats):
            for ahead in records:
                records[ahead].append(epoch(config, ahead))
    assert len({record.loss for both in records.values() for record in both}) == 1, "reading ahead changed the loss"
    best = {ahead: min((r.seconds for r in both), key=lambda s: s["total"]) for ahead, both in records.items()}
    print(
        f"{size:.0f} MiB in {choice.tilts} tilts, {choice.compression} compression; best of {choice.repeats} epochs:"
    )
    for ahead, seconds in best.items():
        print(
            f"  {'reading ahead' if ahead else 'reading in turn':16s} {seconds['total']:6.2f} s "
            f"(waiting for patterns {seconds['read']:.2f} s, computing {seconds['compute']:.2f} s)"
        )
    print(json.dumps({"MiB": size, "in_turn": best[False], "ahead": best[True], "time": time.time()}))


if __name__ == "__main__":
    main()
