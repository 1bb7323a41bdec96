"""The layout to take, the time to ask for, and the script that asks for it."""

import json
import re
from dataclasses import replace

import pytest
from workloads import ODD, TELLURIUM

from dptt.config.distribution import checkpoint_interval
from dptt.planning.checkpoints import number_of_checkpoints
from dptt.planning.job_script import Job, Site, job_script
from dptt.planning.layout import Layout, layouts, rank_counts
from dptt.planning.machine import GIBIBYTE, KNOWN, read_machine
from dptt.planning.recommendation import forecast, forecasts, recommended, time_limit
from dptt.planning.table import table

H100 = KNOWN["h100"]


def test_layouts_are_all_meshes_and_exact_ones_unless_asked():
    assert [str(one) for one in layouts(6, ODD)] == ["6 scan", "3 scan × 2 slabs", "2 scan × 3 slabs", "6 slabs"]
    assert all(one.exact and one.ranks == 6 for one in layouts(6, ODD))
    assert Layout(3, 2, 1) in layouts(6, ODD, approximate=True)
    assert max(one.tilt_groups for one in layouts(6, ODD, approximate=True)) == 3, "there are 5 tilts: not 6 groups"


def test_counts_of_a_table_are_powers_of_two_and_the_last_one():
    assert rank_counts(1) == [1]
    assert rank_counts(6) == [1, 2, 4, 6]


def test_the_fastest_layout_that_fits_and_does_not_waste_is_recommended():
    found = forecasts(TELLURIUM, H100, [1, 2, 4, 64])
    chosen = recommended(found, least_efficiency=0.7)
    assert chosen is not None and chosen.efficiency >= 0.7
    assert not [one for one in found if one.efficiency >= 0.7 and one.total < chosen.total]


def test_what_does_not_fit_is_never_recommended_and_is_marked():
    small = H100.changed(memory=2 * GIBIBYTE)
    found = forecasts(replace(TELLURIUM, data_bytes=1 << 20), small, [1, 2, 16])
    chosen = recommended(found, least_efficiency=0.01)
    assert chosen is not None and chosen.memory.total <= 2 * GIBIBYTE
    assert recommended(forecasts(TELLURIUM, H100.changed(memory=GIBIBYTE), [1, 2])) is None
    assert "!" in table(found, chosen, small)


def test_a_time_limit_holds_the_run_and_its_lead_an_epoch():
    one = forecast(TELLURIUM, Layout(slabs=4), H100)
    limit = time_limit(one, longest=86400.0)
    assert limit.jobs == 1 and limit.enough
    assert limit.minutes * 60 >= one.total + limit.lead
    assert limit.lead >= one.duration.total + 60


def test_a_signal_comes_early_enough_for_an_epoch_and_its_checkpoint():
    slow = H100.changed(reading=1e6)
    for layout in (Layout(), Layout(slabs=8)):
        one = forecast(TELLURIUM, layout, slow)
        written = 2 * 296**3 * 8 + 26 * (3 * 66 * 66 * 8 + 220 * 220 * 16)
        assert one.checkpoint == pytest.approx(written / 1e6 / layout.slabs)
        assert time_limit(one, longest=86400.0).lead >= 1.5 * (one.duration.total + one.checkpoint) + 60
    assert time_limit(one, longest=86400.0).enough
    assert not time_limit(one, longest=1.4 * one.checkpoint).enough


@pytest.mark.parametrize(
    ("interval", "checkpoints"),
    [({}, 300), ({"checkpoint_epochs": 7}, 1 + 42 + 1), ({"seconds_after_checkpoint": lambda writing: 1e9}, 2)],
)
def test_checkpoints_count_in_the_time_of_the_run(interval, checkpoints):
    workload = replace(TELLURIUM, data_bytes=1 << 40, **interval)
    quick, slow = (forecast(workload, Layout(), H100.changed(reading=rate)) for rate in (1e30, 1e7))
    reading = 26 * 220 * 220 * 66 * 66 * 2 / 1e7
    assert slow.duration == quick.duration, "patterns stay in memory"
    assert slow.total - quick.total - reading == pytest.approx(checkpoints * slow.checkpoint)


def test_checkpoints_in_minutes_are_as_many_as_the_epochs_between_them_allow():
    def number(value: str, writing: float) -> int:
        after = checkpoint_interval(value).seconds_after
        return number_of_checkpoints(replace(ODD, epochs=10, seconds_after_checkpoint=after), 10.0, writing)

    assert number("0.5 min", 1.0) == 5  # 1, 3, 6, 9, 10
    assert number("0.1 min", 1.0) == 10
    assert number("auto", 0.01) == number("auto", 0.5) == 10
    assert number("auto", 1.5) == 5  # 28.5 s after the last
    assert number_of_checkpoints(replace(ODD, epochs=1, checkpoint_epochs=5), 10.0, 1.0) == 1


def test_a_run_longer_than_a_job_may_be_is_cut_into_several():
    one = forecast(replace(TELLURIUM, epochs=3000), Layout(), H100)
    limit = time_limit(one, longest=14400.0)
    assert limit.minutes == 240
    assert limit.jobs == pytest.approx(1.5 * one.total / 14400.0, abs=1.1)


def test_an_epoch_longer_than_a_job_may_be_is_found_out():
    assert not time_limit(forecast(TELLURIUM, Layout(), H100.changed(gradients=1e7)), longest=600.0).enough


@pytest.mark.parametrize("launcher", ["srun", "torchrun"])
def test_a_script_asks_for_nodes_tasks_memory_and_time(launcher, tmp_path):
    one = forecast(TELLURIUM, Layout(slabs=8), H100)
    site = Site(partition="gpu", account="cone", threads=6, launcher=launcher)
    limit = time_limit(one, 86400.0)
    job = Job(["reconstruct", "a b.yaml"], name="dptt-x", folder="/runs/x y", chdir="/data")
    text = job_script(one, job, limit=limit, machine=H100, site=site)
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", text, re.MULTILINE))
    assert (asked["nodes"], asked["gpus-per-node"]) == ("2", "4")
    assert (asked["partition"], asked["account"], asked["chdir"]) == ("gpu", "cone", "/data")
    cores = int(asked["ntasks-per-node"]) * int(asked["cpus-per-task"])
    assert cores == 24, "four ranks of six cores on either node, whoever starts them"
    assert asked["signal"] == f"B:USR1@{limit.lead}"
    assert int(asked["mem"].removesuffix("G")) * GIBIBYTE >= 4 * one.memory.total
    assert "reconstruct 'a b.yaml'" in text
    assert "DPTT_JOBS='/runs/x y'" in text


def test_machines_come_by_name_or_file_and_others_are_refused(tmp_path):
    H100.save(tmp_path / "ours.json")
    assert read_machine(str(tmp_path / "ours.json")) == H100
    with pytest.raises(ValueError, match="neither one of a100, h100, h200 nor a JSON file"):
        read_machine("z9")
    (tmp_path / "half.json").write_text('{"name": "half"}')
    with pytest.raises(ValueError, match="differing: .*bandwidth"):
        read_machine(str(tmp_path / "half.json"))


@pytest.mark.parametrize(
    "change",
    [{"slicing": "fast"}, {"bandwidth": 0.0}, {"memory": 1.5}, {"reading": -1.0}, {"turning": True}, {"name": 3}],
    ids=str,
)
def test_a_rate_that_is_no_positive_number_is_refused_by_name(tmp_path, change):
    H100.save(tmp_path / "ours.json")
    rates = json.loads((tmp_path / "ours.json").read_text()) | change
    (tmp_path / "ours.json").write_text(json.dumps(rates))
    (name, value) = next(iter(change.items()))
    with pytest.raises(ValueError, match=f"positive numbers for rates; got {name}: {value}"):
        read_machine(str(tmp_path / "ours.json"))


@pytest.mark.parametrize("content", [b"\xff{", b"[" * 100_000, b"nan"])
def test_a_file_that_is_no_machine_is_refused(tmp_path, content):
    (tmp_path / "ours.json").write_bytes(content)
    with pytest.raises(ValueError, match="ours.json: (is neither one of|expected exactly the rates)"):
        read_machine(str(tmp_path / "ours.json"))
