"""The scaling study: which runs it makes, how it starts them, what it fits and predicts."""

import json

import pytest
from scaling.network import fitted
from scaling.prediction import SIZES, TELLURIUM, compared, fastest, gpu_curves, layout_of, scaled
from scaling.report import write_report
from scaling.runs import Measurement, launch_command, measured, measurements, results

from dptt.planning.layout import Layout
from dptt.planning.machine import KNOWN


def test_one_rank_is_measured_once_and_weak_scaling_gives_every_rank_the_same_patterns():
    found = measurements(["strong", "weak"], ["scan", "slab"], [1, 2, 4])
    assert [one.name for one in found if one.ranks == 1] == ["strong-scan-1", "weak-scan-1"]
    assert {one.every * one.ranks for one in found if one.study == "weak"} == {4}
    assert {one.every for one in found if one.study == "strong"} == {1}


@pytest.mark.parametrize(
    ("mode", "layout"),
    {"scan": Layout(scan=4), "slab": Layout(slabs=4), "scan-slab": Layout(1, 2, 2), "tilt": Layout(4)}.items(),
)
def test_modes_are_meshes(mode, layout):
    assert Measurement("strong", mode, 4).layout == layout
    assert layout_of({"mode": mode, "ranks": 4}) == layout


def test_launchers_start_as_many_ranks_as_asked():
    assert "--nproc-per-node=3" in launch_command("torchrun", 3, ["x.py"])
    assert launch_command("torchrun", 1, ["x.py"])[1:] == ["x.py"]
    command = launch_command("srun --mpi=pmix", 2, ["x.py"])
    assert command[:4] == ["srun", "--mpi=pmix", "-n", "2"]


def test_the_network_is_found_again_from_times_that_follow_the_model():
    alpha, beta = 3e-5, 2e9
    seconds = {size: 4 * alpha + 2 * 3 / 4 * size / beta for size in (4, 1 << 20, 1 << 25)}
    assert fitted(4, seconds) == pytest.approx((alpha, beta), rel=0.01)


def test_a_larger_volume_has_more_patterns_and_slices():
    assert scaled(296) == TELLURIUM
    double = scaled(592)
    assert (double.num_slices, double.patterns) == (16, 4 * TELLURIUM.patterns)


def test_predictions_gain_with_every_doubling_until_they_saturate_and_never_beat_the_ideal():
    curves = gpu_curves("h200")
    for size in SIZES:
        seconds = [fastest(curves, size, count)["epoch_seconds"] for count in (1, 4, 16, 64)]
        assert seconds == sorted(seconds, reverse=True)
        assert all(one["efficiency"] <= 1.001 for one in curves)
    few, many = (fastest(curves, size, 256)["efficiency"] for size in (296, 1024))
    assert many > few, "more work for every GPU"


@pytest.fixture
def study(tmp_path):
    """A folder with one measured run of two scan ranks."""
    folder = tmp_path / "strong-scan-2"
    folder.mkdir()
    one = Measurement("strong", "scan", 2)
    ranks = {name: [1.0, 2.0] for name in ("read", "compute", "communicate", "idle", "total")}
    epoch = {"epoch": 1, "ranks": ranks, "seconds": {"total": 9.0}, "bytes_sent": 600, "updates": 3, "loss": 0.1}
    lines = [epoch, {**epoch, "epoch": 2, "seconds": {"total": 4.0}}, {**epoch, "epoch": 3, "bytes_sent": 300}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for rank in (0, 1):
        peak = {"peak_bytes": 2**20 * (rank + 1), "imported_bytes": 2**19, "cpu_seconds": [5.0, 7.5, 9.5]}
        (folder / f"peak-{rank}.json").write_text(json.dumps(peak))
    (folder / "measured.json").write_text(json.dumps(measured(one, folder)))
    return tmp_path


def test_the_first_epoch_is_not_counted(study):
    [one] = results(study)
    assert one["epoch_seconds"] == 4.0
    assert one["bytes_per_update"] == 150
    assert one["peak_bytes"] == [2**20, 2**21]
    assert one["cpu_seconds"] == 2.0


def test_predictions_stand_beside_what_was_measured(study):
    [one] = results(study)
    beside = compared(one, TELLURIUM, KNOWN["h100"])
    assert beside["epoch_seconds"][1] == 4.0
    assert beside["cpu_seconds"][1] == 2.0
    assert beside["bytes_per_update"][0] > 150


def test_the_report_has_tables_and_figures(study):
    write_report(study)
    text = (study / "scaling.md").read_text()
    assert "| strong | 2 scan | 4.0 |" in text
    assert "measured with dptt on an H200" in text
    assert {"measured.png", "predicted.png", "scaling.json"} <= {path.name for path in study.iterdir()}
