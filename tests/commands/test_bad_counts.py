"""Counts that no detector gives: `dptt validate` finds them all, and a reconstruction that meets one stops."""

from pathlib import Path

import numpy as np
import pytest
from command_line import assert_refused, edit_series, files_in, replace_patterns, run_ranks

from dptt.logs import read_metrics


def spoil(patterns: np.ndarray) -> None:
    patterns[7, 3, 2] = np.nan
    patterns[[11, 30], 5, 5] = -4


@pytest.fixture(scope="module")
def spoilt(tiny, tmp_path_factory) -> Path:
    """Series with a NaN and two negative patterns in tilt 0001, and an empty pattern in tilt 0004."""

    def change(file) -> None:
        replace_patterns(file, "0001", spoil)
        file["tilts/0004/data"][3, 2] = 0

    return edit_series(tiny / "series.h5", tmp_path_factory.mktemp("spoilt") / "series.h5", change)


def test_validate_names_every_tilt_and_pattern_with_bad_counts(dptt, tiny, spoilt, tmp_path):
    ended = dptt("validate", tiny / "tiny.yaml", f"series={spoilt}", f"run={tmp_path}")
    assert_refused(
        ended,
        "3 problems",
        "tilts/0001: 1 of 42 patterns have pixels that are NaN or infinite: 7.",
        "tilts/0001: 2 of 42 patterns have negative counts: 11, 30.",
        "tilts/0004: 1 of 42 patterns have no counts at all: 20.",
    )


def test_reconstruct_refuses_a_nan_that_it_sees_before_the_first_epoch(dptt, tiny, spoilt, tmp_path):
    ended = dptt("reconstruct", tiny / "tiny.yaml", f"series={spoilt}", f"run={tmp_path / 'run'}")
    assert_refused(ended, "tilt 0001", "nan")
    assert files_in(tmp_path) == []


def make_negative(file) -> None:
    def change(patterns: np.ndarray) -> None:
        patterns[11, 5, 5] = -4

    replace_patterns(file, "0002", change)


@pytest.mark.parametrize("size", [1, 3])
def test_a_loss_that_is_not_finite_stops_every_rank_and_names_the_minibatch(tiny, tmp_path, size):
    """Only validate reads all patterns first; what it would have found stops the reconstruction when it is met."""
    series = edit_series(tiny / "series.h5", tmp_path / "series.h5", make_negative)
    arguments = ["reconstruct", tiny / "tiny.yaml", f"series={series}", f"run={tmp_path / 'run'}"]
    ended = run_ranks(size, [*arguments, "reconstruction.validation_fraction=0"], tmp_path / "said")
    assert [one.code for one in ended] == [1] * size, ended[0].stderr
    assert "error: the loss is nan in epoch 1, tilt 0002, minibatch 0" in ended[0].stderr
    assert "dptt validate" in ended[0].stderr
    assert all("error" not in one.stderr for one in ended[1:]), "said once"
    assert all("Traceback" not in one.stderr for one in ended)
    assert not set(files_in(tmp_path / "run")) & {"volume.h5", "checkpoint.h5"}


def test_a_held_out_pattern_that_is_not_finite_stops_the_run_too(tiny, dptt, tmp_path):
    from solver_settings import tomography_settings

    from dptt.solvers.tomography.minibatches import split_held_out

    _, held_out = split_held_out(42, 1, tomography_settings(validation_fraction=0.05))

    def change(file) -> None:
        replace_patterns(file, "0001", lambda patterns: patterns.__setitem__((int(held_out[0]), 5, 5), -4))

    series = edit_series(tiny / "series.h5", tmp_path / "series.h5", change)
    ended = dptt("reconstruct", tiny / "tiny.yaml", f"series={series}", f"run={tmp_path / 'run'}")
    assert ended.code == 1, read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert "epoch 1, tilt 0001" in ended.stderr


def test_pixels_that_are_masked_may_hold_anything(tiny, dptt, tmp_path):
    """`dptt validate` gives masking as the cure of NaN and negative counts."""

    def change(file) -> None:
        mask = np.ones((16, 14), bool)
        mask[2, 3], mask[9, 12] = False, False
        for tilt in file["tilts"]:
            file[f"tilts/{tilt}/mask"] = mask

    def spoil_masked(file) -> None:
        change(file)

        def spoil_pixels(patterns: np.ndarray) -> None:
            patterns[:, 2, 3], patterns[5, 9, 12] = np.nan, -7

        replace_patterns(file, "0001", spoil_pixels)

    losses = []
    for name, fault in (("clean", change), ("spoilt", spoil_masked)):
        series = edit_series(tiny / "series.h5", tmp_path / f"{name}.h5", fault)
        choices = [tiny / "tiny.yaml", f"series={series}", f"run={tmp_path / name}", "reconstruction.epochs=2"]
        for command in ("validate", "reconstruct"):
            ended = dptt(command, *choices)
            assert ended.code == 0, ended.stderr
        losses.append(read_metrics(tmp_path / name / "metrics.jsonl")[-1]["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
