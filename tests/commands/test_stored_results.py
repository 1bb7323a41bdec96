"""A change that is not meant to change results does not: losses and volumes are those stored in stored_results.json.

In double precision, to nine digits: processors round differently, so the last digits may not be compared. Where a
change is meant to alter results, store the new ones and say so: DPTT_STORE_RESULTS=1 pytest THIS_FILE.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from command_line import checkpoint, run_ranks

from dptt.cli import main
from dptt.logs import read_metrics

CONFIGS = Path(__file__).resolve().parents[2] / "jobs" / "configs"
STORED = Path(__file__).with_name("stored_results.json")
SHORT = (
    "simulation.tilts.step=40",
    "reconstruction.precision=double",
    "reconstruction.epochs=2",
    "reconstruction.batches=2",
    "reconstruction.every=4",
)
REFINED = ("reconstruction.probe.from_epoch=1", "reconstruction.positions.from_epoch=2")
POSES = ("reconstruction.angles.from_epoch=2", "reconstruction.translations.from_epoch=2")
RUNS = {
    "00_minimal": ("00_minimal", SHORT, 1),
    "03_partial_coherence": ("03_partial_coherence", (*SHORT, *REFINED), 1),
    "00_minimal with poses, two slabs": ("00_minimal", (*SHORT, *POSES, "distribution.slabs=2"), 2),
    "00_minimal, two tilt groups": ("00_minimal", (*SHORT, "distribution.tilt_groups.count=2"), 2),
}


@pytest.fixture(scope="module")
def series_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = folder / f"{name}.h5"
            places = f"series={made[name]}", f"run={folder}"
            assert main(["simulate", str(CONFIGS / f"{name}.yaml"), *places, *SHORT]) == 0
        return made[name]

    return make


FURTHER = ("00_minimal", "03_partial_coherence", "00_minimal with poses, two slabs")
NAMES = [pytest.param(name, marks=[pytest.mark.thorough] if name in FURTHER else []) for name in RUNS]


@pytest.mark.parametrize("name", NAMES)
def test_results_are_those_stored(name, series_of, tmp_path):
    config, overrides, ranks = RUNS[name]
    arguments = ["reconstruct", str(CONFIGS / f"{config}.yaml"), f"series={series_of(config)}", f"run={tmp_path}"]
    assert [one.code for one in run_ranks(ranks, [*arguments, *overrides], tmp_path / "messages")] == [0] * ranks
    results = results_of(tmp_path)
    if os.environ.get("DPTT_STORE_RESULTS"):
        stored = json.loads(STORED.read_text()) if STORED.exists() else {}
        STORED.write_text(json.dumps(stored | {name: results}, indent=1) + "\n")
    stored = json.loads(STORED.read_text())[name]
    assert results.keys() == stored.keys()
    for quantity, values in results.items():
        largest = np.abs(stored[quantity]).max()
        np.testing.assert_allclose(values, stored[quantity], rtol=0, atol=1e-9 * largest, err_msg=quantity)


def results_of(run: Path) -> dict[str, list[float]]:
    """Return losses of all epochs, and of every unknown a norm and a weighted sum."""
    epochs = read_metrics(run / "metrics.jsonl")
    results = {key: [epoch[key] for epoch in epochs] for key in ("loss", "held_out_loss")}
    for name, array in sorted(checkpoint(run).items()):
        if array.dtype.kind in "fc":
            results.setdefault(name.split("/")[0], []).extend(_sums(array))
    return results


def _sums(array: np.ndarray) -> list[float]:
    weights = np.cos(np.arange(array.size))  # an element that moves elsewhere is noticed
    weighted = (weights * array.ravel()).sum()
    return [float(np.linalg.norm(array)), float(np.real(weighted)), float(np.imag(weighted))]
