#!/usr/bin/env python
"""Reconstruct one noise-free series with Poisson noise at several fluences: dose_series.py CONFIG FLUENCE [...].

For every fluence [electrons per Å² and tilt] the script writes a series and a run beside the noise-free ones,
reconstructs with the same configuration, and analyzes the volume. It prints a table at the end.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from dptt.commands.analyze import analyze
from dptt.commands.reconstruct import reconstruct
from dptt.config import Config, load_config
from dptt.distributed.comm import SerialCommunicator
from dptt.io.dataset import Tilt, TiltSeries
from dptt.io.dataset_writer import write_tilt_series
from dptt.io.series_data import TiltData
from dptt.logs import set_up_logging


def noisy_tilt(tilt: Tilt, fluence: float, seed: int) -> TiltData:
    """Return a noise-free tilt with Poisson counts at `fluence` [e/Å²], drawn from its intensities."""
    positions = tilt.scan_positions()
    expected = tilt.read(slice(None)).astype(np.float64)
    area = np.prod(np.ptp(positions, axis=0) / (np.sqrt(len(positions)) - 1))  # of one scan step [Å²]
    expected *= fluence * area / expected.sum((1, 2)).max()
    counts = np.random.default_rng(seed).poisson(expected)
    return TiltData(
        patterns=counts.astype(np.min_scalar_type(int(counts.max()))),
        scan_positions=positions,
        euler_angles=tilt.euler_angles,
        translation=tilt.translation,
        aberrations=tilt.aberrations,
    )


def reconstruct_at(config: Config, fluence: float) -> dict:
    """Return the analysis of the series of `config` with noise at `fluence` [e/Å²]."""
    name = f"{fluence:.0e}".replace("+0", "")
    noisy = config.model_copy(
        update={"series": config.run / f"series_{name}.h5", "run": config.run.with_name(f"{config.run.name}_{name}")}
    )
    config.run.mkdir(parents=True, exist_ok=True)
    with TiltSeries.open(config.series) as series:
        tilts = (noisy_tilt(tilt, fluence, seed) for seed, tilt in enumerate(series.tilts))
        header = replace(series.header, source=f"{series.header.source}, Poisson noise at {fluence:g} e/Å² a tilt")
        write_tilt_series(noisy.series, header, tilts, series.truth(), overwrite=True)
    reconstruct(noisy, SerialCommunicator(), restart=True)
    return analyze(noisy)


def main() -> None:
    """Print one row for each fluence."""
    set_up_logging(0)
    config = load_config(Path(sys.argv[1]))
    rows = [(float(text), reconstruct_at(config, float(text))) for text in sys.argv[2:]]
    titles = (
        "e/Å² per tilt",
        "correlation",
        "resolution (FSC 0.5)",
        "matched / true / false",
        "RMSD [Å]",
        "total potential",
    )
    print(f"\n| {' | '.join(titles)} |")
    print("|---|---|---|---|---|---|")
    for fluence, analysis in rows:
        match = analysis["atoms"]["match"]
        resolution = analysis["resolution"]["0.5"]["resolution_A"]
        matched = round(match["recall"] * match["num_true"])
        print(
            f"| {fluence:.0e} | {analysis['correlation']:.3f} | "
            f"{'-' if resolution is None else f'{resolution:.2f} Å'} | "
            f"{matched} / {match['num_true']} / {match['num_found'] - matched} | {match['rmsd_A']:.3f} | "
            f"{analysis['total_potential_ratio']:.2f} |"
        )


if __name__ == "__main__":
    main()
