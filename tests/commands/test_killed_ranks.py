"""Ranks are killed at random moments, checkpoint writing included: the resumed run ends as if nothing had been.

DPTT_KILLS kills are chained in one run; each takes a random rank of two. The moments are drawn over a whole epoch and
its checkpoint, and every second one is set to when the new checkpoint is being written, which one hits at least.
"""

import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import (
    RunningCommand,
    checkpoint,
    epochs_of,
    relative_difference,
    run_ranks,
    start_ranks,
    wait_until,
)

from dptt.io.checkpoint import load_latest_checkpoint
from dptt.io.volumes import read_volume
from dptt.logs import read_metrics

KILLS = int(os.environ.get("DPTT_KILLS", "4"))
REFINED = [f"reconstruction.{what}.from_epoch=3" for what in ("probe", "positions", "angles", "translations")]
QUICK = ["volume.voxel_size=0.45", "reconstruction.every=2", "reconstruction.batches=2", "distribution.patience=60"]
DOUBLE = ["reconstruction.precision=double", "reconstruction.epochs=4"]


def command(tiny: Path, run: Path, *overrides: str) -> list[str]:
    return ["reconstruct", str(tiny / "tiny.yaml"), f"run={run}", *QUICK, *REFINED, *overrides]


def half_written(run: Path) -> list[Path]:
    return list(run.glob(".checkpoint.h5.*.partial.h5"))


def kill_one(ranks: list[RunningCommand], which: int) -> None:
    """Kill a rank as the kernel would, and end the others, which would only wait for their patience to end."""
    ranks[which].kill()
    for other in ranks:
        other.kill()


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("slabs", [1, 2])
def test_after_any_kills_the_resumed_run_gives_the_uninterrupted_volume(tiny, tmp_path, slabs):
    """Bit by bit, with the same ranks."""
    run, whole, moments = tmp_path / "run", tmp_path / "whole", random.Random(KILLS + slabs)
    kills = KILLS if slabs == 1 else KILLS // 2
    # each attempt completes an epoch at least, so that the epochs suffice for all kills
    arguments = [f"reconstruction.epochs={4 * kills + 4}", f"distribution.slabs={slabs}"]
    assert [one.code for one in run_ranks(2, command(tiny, whole, *arguments), tmp_path / "whole-said")] == [0, 0]
    epoch = float(np.median([line["seconds"]["total"] for line in read_metrics(whole / "metrics.jsonl")]))
    kill = while_writing = 0
    while kill < kills or not while_writing:
        before = len(epochs_of(run))
        ranks = start_ranks(2, command(tiny, run, *arguments), tmp_path / f"said{kill}")
        wait_until(lambda before=before: len(epochs_of(run)) > before, ranks[0])
        if kill % 2:
            wait_until(lambda: half_written(run), ranks[0])
        else:
            time.sleep(moments.uniform(0.0, 1.5 * epoch))
        assert ranks[0].process.is_alive(), "too few epochs for this test"
        kill_one(ranks, moments.randrange(2))
        kill += 1
        while_writing += bool(half_written(run))
        for left in half_written(run):
            left.unlink()
        done = load_latest_checkpoint(run / "checkpoint.h5")[1]["epoch"]
        assert len(epochs_of(run)) - 1 <= done <= len(epochs_of(run)), "at most the epoch in hand is lost"
    assert [one.code for one in run_ranks(2, command(tiny, run, *arguments), tmp_path / "said")] == [0, 0]
    assert epochs_of(run) == epochs_of(whole)
    for name, expected in checkpoint(whole).items():
        np.testing.assert_array_equal(checkpoint(run)[name], expected, err_msg=name)
    np.testing.assert_array_equal(read_volume(run / "volume.h5").volume, read_volume(whole / "volume.h5").volume)


FURTHER = [pytest.param(*meshes, marks=pytest.mark.thorough) for meshes in [((2, 2), (3, 1)), ((3, 3), (4, 2))]]


@pytest.fixture(scope="module")
def one_process(tiny, tmp_path_factory) -> Path:
    """Folder of an uninterrupted run of four epochs by one process, in double precision."""
    run = tmp_path_factory.mktemp("one") / "run"
    assert run_ranks(1, command(tiny, run, *DOUBLE), run.parent / "said")[0].code == 0
    return run


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param((1, 1), (2, 2), marks=pytest.mark.thorough),
        pytest.param((4, 2), (1, 1), marks=pytest.mark.thorough),
        *FURTHER,
    ],
    ids=lambda mesh: f"{mesh[0]} ranks in {mesh[1]} slabs",
)
def test_a_run_goes_on_with_other_ranks_and_slabs(tiny, tmp_path, one_process, first, then):
    run = tmp_path / "run"
    for (size, slabs), epochs in ((first, 2), (then, 4)):
        overrides = [*DOUBLE, f"reconstruction.epochs={epochs}", f"distribution.slabs={slabs}"]
        ended = run_ranks(size, command(tiny, run, *overrides), tmp_path / f"said{size}")
        assert [one.code for one in ended] == [0] * size, ended[0].stderr
    assert "after epoch 2" in ended[0].stderr
    for name, expected in checkpoint(one_process).items():
        assert relative_difference(checkpoint(run)[name], expected) <= 1e-10, name


@pytest.mark.thorough
def test_a_run_goes_on_with_tilt_groups_from_the_very_state(tiny, tmp_path):
    """They are approximate, so nothing is compared but what they begin with."""
    run = tmp_path / "run"
    assert run_ranks(2, command(tiny, run, *DOUBLE, "distribution.slabs=2"), tmp_path / "said")[0].code == 0
    before = checkpoint(run)
    grouped = command(tiny, run, *DOUBLE, "distribution.tilt_groups.count=2", "distribution.slabs=2")
    ended = run_ranks(4, grouped, tmp_path / "grouped")
    assert [one.code for one in ended] == [0] * 4, ended[0].stderr
    assert "after epoch 4" in ended[0].stderr and "epoch 005" not in ended[0].stderr
    np.testing.assert_array_equal(checkpoint(run)["volume"], before["volume"])
    more = run_ranks(4, [*grouped, "reconstruction.epochs=5"], tmp_path / "more")
    assert [one.code for one in more] == [0] * 4, more[0].stderr
    exact = run_ranks(1, command(tiny, tmp_path / "exact", *DOUBLE, "reconstruction.epochs=5"), tmp_path / "one")
    assert exact[0].code == 0, exact[0].stderr
    grouped_loss, loss = (read_metrics(path / "metrics.jsonl")[4]["loss"] for path in (run, tmp_path / "exact"))
    assert grouped_loss < 1.05 * loss, "groups that do not know of each other gain a little less"
