"""A series larger than the memory that patterns may take is read in minibatches; memory does not grow with tilts."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch

from dptt.assembly.problem import build_problem
from dptt.config import load_config
from dptt.io.dataset import TiltSeries
from dptt.io.dataset_writer import write_tilt_series
from dptt.io.series_data import SeriesHeader, TiltData

TILTS, SCAN, DETECTOR = 17, (19, 21), (122, 130)
TILT_BYTES = 19 * 21 * 122 * 130 * 2


def read_all(path: Path, memory: int, answer) -> None:
    """Send the sum of all counts, and the most memory [bytes] that this process took up to each minibatch."""
    config = load_config(path, [f"reconstruction.data_memory={memory}"])
    with TiltSeries.open(config.series) as series:
        problem = build_problem(config, series)
        minibatches = [
            (reader, batch)
            for reader, positions in zip(problem.tilts, problem.state.positions, strict=True)
            for batch in torch.arange(len(positions)).tensor_split(config.reconstruction.batches)
        ]
        peaks, total = [], 0
        for number, (reader, batch) in enumerate(minibatches):
            patterns = reader.read(batch)
            if number + 1 < len(minibatches):
                following, upcoming = minibatches[number + 1]
                following.prefetch(upcoming)
            total += int(patterns.numpy().sum())
            peaks.append(peak_memory())
    answer.send((total, peaks))


def peak_memory() -> int:
    """Return the most memory [bytes] that this process took; ru_maxrss begins with that of its parent."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


@pytest.fixture(scope="module", params=[None, "gzip"])
def series(request, tmp_path_factory):
    """Return a configuration for a series of 17 tilts of 12 MiB written block by block, and the sum of its counts."""
    folder, random, total = tmp_path_factory.mktemp("large"), np.random.default_rng(0), 0
    y, x = np.indices(DETECTOR) - np.array(DETECTOR)[:, None, None] // 2
    disk = np.where(np.hypot(y, x) < 20, 10.0, 0.02)
    positions = 0.2 * (np.indices(SCAN).reshape(2, -1).T - np.array(SCAN) / 2)

    def blocks():
        nonlocal total
        for _ in range(19):
            block = np.broadcast_to(random.poisson(disk), (21, *DETECTOR)).astype(np.uint16)
            total += int(block.sum())
            yield block

    tilts = (TiltData(blocks(), positions, (0.0, 7.0 * (n - 8), 0.0), scan_shape=SCAN) for n in range(TILTS))
    write_tilt_series(folder / "series.h5", SeriesHeader(300e3, 20.0, (1.0, 1.0)), tilts, compression=request.param)
    (folder / "large.yaml").write_text(
        f"series: {folder}/series.h5\nrun: {folder}/run\nvolume: {{thickness: 5, num_slices: 1}}\n"
        "reconstruction: {batches: 8}\n"
    )
    return folder / "large.yaml", total


def epoch(config, memory: int) -> tuple[int, list[int]]:
    """Return what a process of its own says of an epoch: see `read_all`."""
    answer, say = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("forkserver").Process(target=read_all, args=(config, memory, say))
    process.start()
    say.close()
    total, peaks = answer.recv()
    process.join()
    return total, peaks


@pytest.mark.slow
def test_fifteen_more_tilts_take_no_more_memory_unless_they_are_kept(series):
    config, total = series
    more = (TILTS - 2) * TILT_BYTES
    assert more > 180 * 2**20
    for memory, least, most in ((8, 0.0, 0.2), (8192, 0.8, 1.5)):  # the latter sees what the former must not do
        counted, peaks = epoch(config, memory)
        assert counted == total and len(peaks) == 8 * TILTS
        grown = peaks[-1] - peaks[2 * 8 - 1]
        assert least * more <= grown <= most * more, f"{grown / 2**20:.0f} MiB for {more / 2**20:.0f} MiB more"
