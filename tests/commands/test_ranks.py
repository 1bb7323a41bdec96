"""The central promise: any number of ranks gives the answer of one, to rounding, whatever is switched on."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import checkpoint, epochs_of, relative_difference, run_ranks, start_ranks, wait_until

from dptt.config import load_config
from dptt.logs import read_metrics

COARSE = ["volume.voxel_size=0.45"]
"""A window of 12 x 10 pixels cut out of the patterns, to save time."""
CASES = {
    "all refinements, two modes, 40 training positions in 3 batches, 2 held-out ones": [
        "reconstruction.epochs=3",
        "reconstruction.precision=double",
        "reconstruction.probe={from_epoch: 2, modes: 2}",
        *(f"reconstruction.{what}.from_epoch=2" for what in ("positions", "angles", "translations")),
    ],
    "10 training positions in 4 batches, of which a rank of 3 owns none, 1 held-out one": [
        *COARSE,
        "reconstruction.epochs=3",
        "reconstruction.precision=double",
        "reconstruction.every=4",
        "reconstruction.batches=4",
        "reconstruction.validation_fraction=0.1",
        "reconstruction.loss=poisson",
        "reconstruction.positions.from_epoch=1",
        "reconstruction.regularisation={butterworth_cutoff: 1.2, layer_weight: 0.5}",
        "volume.kind=real",
    ],
    "single precision": [*COARSE, "reconstruction.epochs=5", "reconstruction.positions.from_epoch=3"],
}
TOLERANCE = {"single precision": 1e-4}


FURTHER = list(CASES)[1:]
"""Shown by the equality of meshes in the solver too."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.thorough] if name in FURTHER else []) for name in CASES],
)
def runs(request, tiny, tmp_path_factory) -> tuple[float, list[Path]]:
    """Tolerance of a case, and the folders of its runs on 1, 2 and 3 ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    for size in (1, 2, 3):
        arguments = ["reconstruct", tiny / "tiny.yaml", f"run={folder / str(size)}", *CASES[request.param]]
        ended = run_ranks(size, arguments, folder / f"said{size}")
        assert [one.code for one in ended] == [0] * size, ended[0].stderr
    return TOLERANCE.get(request.param, 1e-10), [folder / str(size) for size in (1, 2, 3)]


@pytest.mark.parametrize("size", [2, 3])
def test_losses_are_those_of_one_rank(runs, size):
    tolerance, folders = runs
    alone, together = (read_metrics(folders[n - 1] / "metrics.jsonl") for n in (1, size))
    assert len(alone) == len(together) >= 3
    for key in ("loss", "held_out_loss", "tilt_losses"):
        expected = np.array([line[key] for line in alone], dtype=float)
        np.testing.assert_allclose([line[key] for line in together], expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("size", [2, 3])
def test_volume_positions_poses_and_probes_are_those_of_one_rank(runs, size):
    tolerance, folders = runs
    alone, together = checkpoint(folders[0]), checkpoint(folders[size - 1])
    assert alone.keys() == together.keys()
    assert np.abs(alone["volume"]).max() > 1.0, "V"
    for name, expected in alone.items():
        if np.abs(expected).max() > 0:
            assert relative_difference(together[name], expected) <= tolerance, name
        else:
            np.testing.assert_array_equal(together[name], expected)


def test_what_was_to_be_refined_did_move(runs):
    """Equal results of refinements that did nothing would prove nothing."""
    _, folders = runs
    changes = read_metrics(folders[2] / "metrics.jsonl")[-1]["changes"]
    choices = load_config(folders[2] / "config.yaml").reconstruction
    for name, choice in (
        ("positions_A", choices.positions),
        ("angles_deg", choices.angles),
        ("translations_A", choices.translations),
    ):
        assert (changes[name] > 1e-5) == (choice.from_epoch is not None), name


@pytest.mark.thorough
@pytest.mark.slow
def test_torchrun_itself_gives_the_answer_of_one_process(tiny, tmp_path):
    overrides = [*COARSE, "reconstruction.epochs=2", "reconstruction.precision=double"]
    arguments = ["reconstruct", str(tiny / "tiny.yaml"), f"run={tmp_path / 'together'}", *overrides]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=3", "-m", "dptt", *arguments]
    done = subprocess.run(torchrun, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("wrote ") == 1, "only one rank speaks"
    assert "3 rank(s)" in done.stderr
    (ended,) = run_ranks(1, [*arguments, f"run={tmp_path / 'alone'}"], tmp_path / "said")
    assert ended.code == 0, ended.stderr
    alone, together = checkpoint(tmp_path / "alone"), checkpoint(tmp_path / "together")
    assert relative_difference(together["volume"], alone["volume"]) <= 1e-10


@pytest.mark.parametrize(
    ("first", "then"),
    [pytest.param(2, 1, marks=pytest.mark.thorough), pytest.param(1, 3, marks=pytest.mark.thorough)],
)
def test_a_run_continues_on_another_number_of_ranks(tiny, tmp_path, first, then):
    overrides = [
        *COARSE,
        "reconstruction.precision=double",
        *(f"reconstruction.{what}.from_epoch=2" for what in ("probe", "positions", "angles", "translations")),
    ]
    for run, size, epochs in (("whole", 1, 4), ("parted", first, 2), ("parted", then, 4)):
        arguments = ["reconstruct", tiny / "tiny.yaml", f"run={tmp_path / run}", *overrides]
        ended = run_ranks(size, [*arguments, f"reconstruction.epochs={epochs}"], tmp_path / "said")
        assert [one.code for one in ended] == [0] * size, ended[0].stderr
    assert "after epoch 2" in ended[0].stderr
    assert epochs_of(tmp_path / "parted") == [1, 2, 3, 4]
    whole, parted = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parted")
    for name, expected in whole.items():
        assert relative_difference(parted[name], expected) <= 1e-10, name


@pytest.mark.parametrize("modes", [pytest.param(1, marks=pytest.mark.thorough), 2])
def test_an_update_sends_the_slice_gradient_not_the_volume(tiny, tmp_path, modes):
    """Per update: complex64 slices and probe modes, float32 illumination and loss; float64 losses of held-out
    patterns and of vacuum a tilt, and from the second epoch on the five sums of its fit.
    """
    arguments = ["reconstruct", tiny / "tiny.yaml", f"run={tmp_path / 'run'}", "reconstruction.epochs=2"]
    arguments.append(f"reconstruction.probe={{modes: {modes}, from_epoch: 2}}")
    ended = run_ranks(2, arguments, tmp_path / "said")
    assert ended[0].code == 0
    first, second = read_metrics(tmp_path / "run" / "metrics.jsonl")
    _, ny, nx = checkpoint(tmp_path / "run")["volume"].shape
    volume, slices, probe = checkpoint(tmp_path / "run")["volume"].nbytes, 3 * ny * nx * 8, modes * 16 * 14 * 8
    update = slices + ny * nx * 4 + 4
    assert first["updates"] == second["updates"] == 5 * 3
    assert first["bytes_sent"] == 15 * update + 5 * 16
    assert second["bytes_sent"] == 15 * (update + probe) + 5 * 16 + 5 * 5 * 8, "a refined probe, and the fits"
    assert 5 * update < volume
    assert f"each update sums {slices / 1e6:.2f} MB of slice gradients" in ended[0].stderr
    assert f"the volume has {volume / 1e6:.2f} MB" in ended[0].stderr
    assert f"summed {first['bytes_sent'] / 15e6:.2f} MB per update" in ended[0].stderr


def test_one_process_sends_nothing(dptt, tiny, tmp_path):
    said = dptt("reconstruct", tiny / "tiny.yaml", f"run={tmp_path}", "reconstruction.epochs=1")
    assert read_metrics(tmp_path / "metrics.jsonl")[0]["bytes_sent"] == 0
    assert "summed" not in said.stderr


def test_updates_are_counted_only_where_there_were_positions(dptt, tiny, tmp_path):
    """21 positions, 1 of them held out, in 30 batches: 10 batches are empty."""
    dptt(
        *("reconstruct", tiny / "tiny.yaml", f"run={tmp_path}", "reconstruction.epochs=1"),
        *("reconstruction.every=2", "reconstruction.batches=30"),
    )
    assert read_metrics(tmp_path / "metrics.jsonl")[0]["updates"] == 5 * 20


@pytest.mark.thorough
def test_patterns_that_are_read_anew_each_epoch_give_the_same_volume(tiny, tmp_path):
    for run, memory in (("kept", 8192), ("read", 0)):
        arguments = ["reconstruct", tiny / "tiny.yaml", f"run={tmp_path / run}", *COARSE, "reconstruction.epochs=2"]
        ended = run_ranks(2, [*arguments, f"reconstruction.data_memory={memory}"], tmp_path / "said")
        assert ended[0].code == 0, ended[0].stderr
    kept, read = checkpoint(tmp_path / "kept"), checkpoint(tmp_path / "read")
    np.testing.assert_array_equal(read["volume"], kept["volume"])


@pytest.mark.thorough
def test_the_death_of_one_rank_ends_all_and_the_rest_can_be_resumed(tiny, tmp_path):
    arguments = [
        "reconstruct",
        tiny / "tiny.yaml",
        f"run={tmp_path / 'run'}",
        "reconstruction.precision=double",
        *COARSE,
    ]
    ranks = start_ranks(3, [*arguments, "reconstruction.epochs=50"], tmp_path / "said")
    wait_until(lambda: len(epochs_of(tmp_path / "run")) >= 2, ranks[0])
    ranks[1].kill()
    ended = [ranks[0].wait(), ranks[2].wait()]
    assert all(one.code != 0 for one in ended)
    done = epochs_of(tmp_path / "run")[-1]
    for run in ("run", "whole"):
        more = [*arguments[:2], f"run={tmp_path / run}", *arguments[3:], f"reconstruction.epochs={done + 1}"]
        assert run_ranks(1, more, tmp_path / "said")[0].code == 0
    assert epochs_of(tmp_path / "run") == list(range(1, done + 2))
    whole, resumed = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "run")
    assert relative_difference(resumed["volume"], whole["volume"]) <= 1e-10


@pytest.mark.parametrize("command", ["simulate", "validate"])
def test_a_command_for_one_process_started_on_two_ends_in_order(tiny, tmp_path, command):
    """It is done once, or refused before any work; no rank fails after the work is done."""
    series = (tmp_path if command == "simulate" else tiny) / "series.h5"
    ended = run_ranks(2, [command, tiny / "tiny.yaml", f"series={series}"], tmp_path / "said")
    codes = {one.code for one in ended}
    assert codes in ({0}, {2}), ended[1].stderr
    assert "Traceback" not in ended[0].stderr + ended[1].stderr
    assert series.exists() or codes == {2}


def test_metrics_are_json_that_other_programs_read(tiny, dptt, tmp_path):
    dptt("reconstruct", tiny / "tiny.yaml", f"run={tmp_path}", "reconstruction.epochs=1")
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(line, parse_constant=refuse)["epoch"] == 1
