"""A bad tilt or pattern among good ones is named and left out, and the rest is reconstructed."""

import numpy as np
import pytest
from command_line import (
    assert_refused,
    edit_series,
    files_in,
    replace_patterns,
    run_ranks,
    small_pictures,
    without_pictures,
)
from test_bad_input import darken, rename_pose, transpose_positions

from dptt.io.ptychography import PtychographyError, read_tilt_image
from dptt.io.volumes import read_volume
from dptt.logs import read_metrics


def lose_patterns(file) -> None:
    import h5py

    del file["tilts/0004/data"]
    file["tilts/0004/data"] = h5py.ExternalLink("moved_away.h5", "/data")


@pytest.mark.parametrize(
    ("fault", "tilt", "reason"),
    [
        (rename_pose, "0001", "tilts/0001 has no attribute theta_deg"),
        pytest.param(
            transpose_positions, "0002", "tilts/0002/scan_positions has shape (2, 42)", marks=pytest.mark.thorough
        ),
        pytest.param(darken, "0003", "its patterns hold no electrons", marks=pytest.mark.thorough),
        (lose_patterns, "0004", "its link to /data in moved_away.h5 leads nowhere"),
    ],
    ids=["no angle", "positions transposed", "dark", "missing"],
)
def test_a_tilt_that_cannot_be_used_is_named_and_the_others_are_reconstructed(
    dptt, tiny, tmp_path, fault, tilt, reason
):
    series = edit_series(tiny / "series.h5", tmp_path / "faulty.h5", fault)
    choices = [tiny / "tiny.yaml", f"series={series}", f"run={tmp_path / 'run'}", "reconstruction.epochs=2"]
    ended = dptt("reconstruct", *choices)
    assert ended.code == 0, ended.stderr
    assert f"tilt {tilt} is left out: " in ended.stderr and reason in ended.stderr
    assert sorted(read_volume(tmp_path / "run" / "volume.h5").tilts) == sorted(
        {f"{i:04d}" for i in range(5)} - {tilt}
    )
    drawn = small_pictures if fault is darken else without_pictures  # they show the same four tilts each time
    for command in (["analyze", *choices], ["report", tmp_path / "run"]):
        ended = dptt(*command, before=drawn)
        assert ended.code == 0, ended.stderr


def test_a_tilt_can_be_excluded_by_name_and_a_wrong_name_is_refused(dptt, tiny, tmp_path):
    choices = [tiny / "tiny.yaml", "reconstruction.epochs=1"]
    ended = dptt("reconstruct", *choices, f"run={tmp_path / 'a'}", "reconstruction.exclude=['0002']")
    assert ended.code == 0, ended.stderr
    assert "0002" not in read_volume(tmp_path / "a" / "volume.h5").tilts
    ended = dptt("reconstruct", *choices, f"run={tmp_path / 'b'}", "reconstruction.exclude=['2']")
    assert ended.code == 2
    assert "reconstruction.exclude names tilt 2; expected one of 0000 to 0004" in ended.stderr


@pytest.mark.thorough
def test_empty_and_overexposed_patterns_are_named_once_and_leave_the_result_as_it_was(dptt, tiny, tmp_path):
    def spoil(file) -> None:
        def change(patterns: np.ndarray) -> None:
            patterns[7] = 0
            patterns[[11, 30]] = 4 * patterns.max()

        replace_patterns(file, "0001", change)

    series = edit_series(tiny / "series.h5", tmp_path / "spoilt.h5", spoil)
    ended = dptt(
        "reconstruct",
        tiny / "tiny.yaml",
        f"series={series}",
        f"run={tmp_path / 'run'}",
        "reconstruction.validation_fraction=0",
    )
    assert ended.code == 0, ended.stderr
    assert ended.stderr.count("empty patterns are left out") == 1
    said = [line for line in ended.stderr.splitlines() if "left out" in line]
    assert any("tilt 0001: 1 empty patterns are left out: 7" in line for line in said), said
    named = {int(n) for line in said if "overexposed" in line for n in line.rpartition(": ")[2].split(", ")}
    assert named == {11, 30}
    clean = dptt(
        "reconstruct", tiny / "tiny.yaml", f"run={tmp_path / 'clean'}", "reconstruction.validation_fraction=0"
    )
    assert clean.code == 0
    losses = [read_metrics(tmp_path / run / "metrics.jsonl")[-1]["loss"] for run in ("run", "clean")]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert read_volume(tmp_path / "run" / "volume.h5").tilts["0001"].attributes["patterns_left_out"] == 3


@pytest.mark.thorough
def test_tilts_may_differ_in_the_size_of_scan_and_detector(dptt, tiny, tmp_path):
    def change(file) -> None:
        data = file["tilts/0003/data"][()]
        positions = file["tilts/0001/scan_positions"][()]
        del file["tilts/0003/data"], file["tilts/0001/scan_positions"]
        file["tilts/0003/data"] = data[..., 1:-1]  # even before and after: the zero angle stays at n//2
        patterns = file["tilts/0001/data"][()].reshape(42, 16, 14)[:36]
        del file["tilts/0001/data"]
        file["tilts/0001/data"], file["tilts/0001/scan_positions"] = patterns, positions[:36]
        del file["truth/tilts"]

    series = edit_series(tiny / "series.h5", tmp_path / "mixed.h5", change)
    for run, source in (("mixed", series), ("clean", tiny / "series.h5")):
        ended = dptt("reconstruct", tiny / "tiny.yaml", f"series={source}", f"run={tmp_path / run}")
        assert ended.code == 0, ended.stderr
    volumes = [read_volume(tmp_path / run / "volume.h5").volume.real for run in ("mixed", "clean")]
    assert np.corrcoef(volumes[0].ravel(), volumes[1].ravel())[0, 1] > 0.98


def lose_the_beam(file) -> None:
    """The beam is off for 26 of 42 patterns of tilt 0001."""
    replace_patterns(file, "0001", lambda patterns: patterns.__setitem__(slice(16, None), 0))


@pytest.mark.parametrize("size", [1, pytest.param(3, marks=pytest.mark.thorough)])
def test_a_tilt_of_mostly_faulty_patterns_stops_the_reconstruction_before_it_begins(tiny, tmp_path, size):
    series = edit_series(tiny / "series.h5", tmp_path / "series.h5", lose_the_beam)
    choices = [tiny / "tiny.yaml", f"series={series}", f"run={tmp_path / 'run'}"]
    ended = run_ranks(size, ["reconstruct", *choices], tmp_path / "said")
    reason = "26 of 42 patterns are faulty: 26 are empty and 0 overexposed"
    assert_refused(ended[0], "tilt 0001", reason, "The typical pattern holds", "reconstruction.exclude")
    assert [one.code for one in ended] == [2] * size
    assert files_in(tmp_path / "run") == []
    ended = run_ranks(size, ["reconstruct", *choices, "reconstruction.exclude=['0001']"], tmp_path / "said")
    assert [one.code for one in ended] == [0] * size, ended[0].stderr


def test_a_tilt_of_mostly_faulty_patterns_is_named_by_validate_and_left_out_by_ptycho(dptt, tiny, tmp_path):
    series = edit_series(tiny / "series.h5", tmp_path / "series.h5", lose_the_beam)
    choices = [tiny / "tiny.yaml", f"series={series}", f"run={tmp_path / 'run'}", "ptychography.epochs=1"]
    assert_refused(dptt("validate", *choices), "tilts/0001: 26 of 42 patterns are faulty: 26 are empty")
    ended = dptt("ptycho", *choices)
    assert ended.code == 0, ended.stderr
    assert "tilt 0001 is left out: 26 of 42 patterns are faulty: 26 are empty" in ended.stderr
    assert read_tilt_image(tmp_path / "run" / "ptychography.h5", "0002").scan_positions.shape == (42, 2)
    with pytest.raises(PtychographyError, match="no such file"):
        read_tilt_image(tmp_path / "run" / "ptychography.h5", "0001")


@pytest.mark.parametrize("electrons", [0.2, 2.0])
def test_good_patterns_of_few_electrons_are_all_used(dptt, tiny, tmp_path, electrons):
    """At 0.2 electrons most patterns hold none, and at 2 every seventh; neither is a fault."""

    def thin_out(file) -> None:
        random = np.random.default_rng(5)
        for tilt in file["tilts"]:
            counts = file[f"tilts/{tilt}/data"][()]
            mean = counts.sum() / 42
            file[f"tilts/{tilt}/data"][...] = random.binomial(counts, electrons / mean)

    series = edit_series(tiny / "series.h5", tmp_path / "series.h5", thin_out)
    choices = [tiny / "tiny.yaml", f"series={series}", f"run={tmp_path / 'run'}", "reconstruction.epochs=1"]
    choices += ["reconstruction.loss=amplitude"]  # 42 electrons do not tell the atoms from vacuum by their likelihood
    for command in ("validate", "reconstruct"):
        ended = dptt(command, *choices)
        assert ended.code == 0, ended.stderr
        assert "left out" not in ended.stderr and "no counts" not in ended.stderr
    tilts = read_volume(tmp_path / "run" / "volume.h5").tilts.values()
    assert [tilt.attributes["patterns_left_out"] for tilt in tilts] == [0] * 5
