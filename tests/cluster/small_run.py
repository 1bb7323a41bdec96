"""A run of seconds: the shipped minimal configuration with fewer of everything, reconstructed in double precision."""

from pathlib import Path

import h5py
import numpy as np

from dptt.io.checkpoint import load_checkpoint
from dptt.logs import read_metrics

CONFIG = Path(__file__).resolve().parents[2] / "jobs" / "configs" / "00_minimal.yaml"
SERIES = [
    "simulation.specimen.diameter=6",
    "simulation.microscope.detector_shape=[16, 14]",
    "simulation.microscope.largest_angle=30",
    "simulation.scan={shape: [7, 5], step: 0.8}",
    "simulation.tilts={angles: [-50, 5, 35]}",
]
CHOICES = [
    "volume.thickness=8",
    "volume.margin=1",
    "volume.slice_thickness=2.5",
    "reconstruction.precision=double",
    "reconstruction.batches=3",
    "reconstruction.positions.from_epoch=2",
]


def arguments(command: str, series: Path, run: Path, *more: str) -> list[str]:
    """Return what follows `python` to run `dptt COMMAND` on the small series."""
    changes = SERIES if command == "simulate" else CHOICES
    return ["-m", "dptt", command, str(CONFIG), f"series={series}", f"run={run}", *changes, *more]


def epochs_done(run: Path) -> int:
    """Return how many epochs a run has recorded."""
    path = run / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def assert_same_result(run: Path, expected: Path, tolerance: float = 1e-10) -> None:
    """Check that two runs have the same losses and volume; the checkpoint holds the volume in double precision."""
    losses, losses_expected = (
        [(line["loss"], line["held_out_loss"], *line["tilt_losses"]) for line in read_metrics(one / "metrics.jsonl")]
        for one in (run, expected)
    )
    assert len(losses_expected) >= 3
    np.testing.assert_allclose(losses, losses_expected, rtol=tolerance, atol=0)
    arrays, arrays_expected = (load_checkpoint(one / "checkpoint.h5")[0] for one in (run, expected))
    assert arrays.keys() == arrays_expected.keys()
    assert np.abs(arrays_expected["volume"]).max() > 1.0, "V"
    for name, array in arrays_expected.items():
        scale = np.abs(array).max()
        assert np.abs(arrays[name] - array).max() <= tolerance * scale, name
    with h5py.File(run / "volume.h5") as file, h5py.File(expected / "volume.h5") as file_expected:
        written, written_expected = file["volume"][()], file_expected["volume"][()]
    assert written.dtype == np.complex64
    assert np.abs(written - written_expected).max() <= 1e-7 * np.abs(written_expected).max(), "rounded to complex64"
