"""A step that is too long costs epochs, not the result; and a run without a result says so and writes none."""

import pytest
from command_line import checkpoint, epochs_of, run_ranks

from dptt.logs import read_metrics

QUICK = ("volume.voxel_size=0.45", "reconstruction.every=2", "reconstruction.batches=2")
PROBE_TOO_FAST = ("reconstruction.probe.from_epoch=3", "reconstruction.probe.step=12")
"""The probe begins with steps that are six times too long, when there is a checkpoint to go back to."""


def reconstruct(tiny, run, *overrides):
    return ["reconstruct", str(tiny / "tiny.yaml"), f"run={run}", *QUICK, *overrides]


@pytest.mark.parametrize("slabs", [1, pytest.param(2, marks=pytest.mark.thorough)])
def test_an_epoch_that_diverges_is_repeated_from_the_checkpoint_and_resumed_alike(tiny, tmp_path, slabs):
    layout = f"distribution.slabs={slabs}"
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    for run, epochs in ((whole, 5), (pieces, 3), (pieces, 5)):
        arguments = reconstruct(tiny, run, *PROBE_TOO_FAST, layout, f"reconstruction.epochs={epochs}")
        ended = run_ranks(slabs, arguments, tmp_path / f"said{run.name}{epochs}")
        assert [one.code for one in ended] == [0] * slabs, ended[0].stderr
        if epochs == 3:
            assert "epoch 3 raises the loss to" in ended[0].stderr
            assert "is undone; from now on all steps are 0.5 of those configured" in ended[0].stderr
    metrics = read_metrics(whole / "metrics.jsonl")
    assert [line["undone"] > 0 for line in metrics] == [False, False, True, False, False]
    assert metrics[1]["step_factor"] == 1 and metrics[4]["step_factor"] == 0.5 ** metrics[2]["undone"]
    assert metrics[-1]["loss"] < metrics[1]["loss"]
    assert epochs_of(pieces) == epochs_of(whole)
    for name, values in checkpoint(whole).items():
        assert (checkpoint(pieces)[name] == values).all(), name


def test_an_epoch_that_diverges_is_undone_between_two_checkpoints_too(tiny, dptt, tmp_path):
    ended = dptt(*reconstruct(tiny, tmp_path, *PROBE_TOO_FAST, "distribution.checkpoint_every=9 min"))
    assert ended.code == 0, ended.stderr
    assert [line["undone"] > 0 for line in read_metrics(tmp_path / "metrics.jsonl")] == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_a_volume_no_better_than_vacuum_is_not_written(tiny, dptt, tmp_path):
    """Thresholds that leave nothing of the specimen, neither of its potential nor of its absorption."""
    thresholds = [f"reconstruction.regularisation.{name}=1000" for name in ("l1", "shrinkage")]
    arguments = reconstruct(tiny, tmp_path, *thresholds, "reconstruction.epochs=2")
    for _ in range(2):  # nor when the finished run is started again
        ended = dptt(*arguments)
        assert ended.code == 1
        assert "error: the final loss is" in ended.stderr and "less than that of vacuum" in ended.stderr
        assert "No volume is written" in ended.stderr and "Traceback" not in ended.stderr
        assert not (tmp_path / "volume.h5").exists() and (tmp_path / "checkpoint.h5").exists()
