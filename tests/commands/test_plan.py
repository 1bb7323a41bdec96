"""`dptt plan`: read by a person, before the series exists and after, and a script that can be submitted."""

import json
import resource
import subprocess

import pytest
from command_line import assert_refused, run_ranks

from dptt.assembly.workload import plan_workload
from dptt.config import load_config
from dptt.logs import read_metrics
from dptt.planning.layout import Layout
from dptt.planning.traffic import bytes_per_update


def test_it_needs_no_series_where_the_simulation_says_its_size(tiny, tmp_path):
    before = plan_workload(load_config(tiny / "tiny.yaml", [f"series={tmp_path}/none.h5"]))
    after = plan_workload(load_config(tiny / "tiny.yaml"))
    assert (before.tilts, before.patterns, before.window_shape) == (5, 42, (16, 14))
    assert before.volume_shape == after.volume_shape
    assert before.scan_rows == after.scan_rows


def test_without_series_and_simulation_it_says_what_to_do_first(dptt, tmp_path):
    (tmp_path / "run.yaml").write_text(f"series: {tmp_path}/none.h5\nrun: {tmp_path}/run\n")
    assert_refused(dptt("plan", tmp_path / "run.yaml", "--machine", "h100"), "dptt import")


def test_an_unknown_machine_is_refused_by_name(dptt, tiny, tmp_path):
    ended = dptt("plan", tiny / "tiny.yaml", f"run={tmp_path}", "--machine", "z9")
    assert_refused(ended, "z9", "a100, h100, h200")


def test_it_writes_a_script_with_everything_it_needs_beside_it(dptt, tiny, tmp_path):
    ended = dptt(
        *("plan", tiny / "tiny.yaml", f"run={tmp_path}/run", "--machine", "a100", "--ranks", "1,2"),
        *("--partition", "gpu", "reconstruction.epochs=7"),
    )
    assert ended.code == 0, ended.stderr
    folder = tmp_path / "run" / "plan"
    assert {"common.sh", "rank.sh", "torchrun.sh", "machine.json", "plan.txt", "reconstruct.sbatch"} == {
        path.name for path in folder.iterdir()
    }
    script = (folder / "reconstruct.sbatch").read_text()
    assert "#SBATCH --partition=gpu" in script
    assert "reconstruction.epochs=7" in script
    assert f"run={tmp_path}/run" in script
    assert subprocess.run(["bash", "-n", str(folder / "reconstruct.sbatch")]).returncode == 0
    text = (folder / "plan.txt").read_text()
    assert "recommended: " in text and "GPU-hours" in text and "on an H200" in text
    assert json.loads((folder / "machine.json").read_text())["name"] == "a100"


def test_what_fits_nowhere_is_said_with_a_cure(dptt, tiny, tmp_path):
    ended = dptt(
        *("plan", tiny / "tiny.yaml", f"run={tmp_path}/run", "--machine", "a100", "--memory-per-rank", "0.1")
    )
    assert ended.code == 0
    text = (tmp_path / "run" / "plan" / "plan.txt").read_text()
    assert "warning: nothing fits into 0.1 GiB" in text and "--memory-per-rank" in text
    assert not (tmp_path / "run" / "plan" / "reconstruct.sbatch").exists()


def test_a_gpu_holds_what_the_configuration_lets_a_rank_use_of_it(dptt, tiny, tmp_path):
    for memory, said in ((None, "patterns kept on the GPU"), (60, "patterns sent again"), (1, "nothing fits into")):
        ended = dptt(
            *("plan", tiny / "tiny.yaml", f"run={tmp_path}/run", "--machine", "h100", "--ranks", "1"),
            f"distribution.memory={'null' if memory is None else memory}",
        )
        assert ended.code == 0
        assert said in (tmp_path / "run" / "plan" / "plan.txt").read_text()
    assert json.loads((tmp_path / "run" / "plan" / "machine.json").read_text())["memory"] == 80 * 2**30


def test_without_a_machine_this_one_is_measured(dptt, tiny, tmp_path):
    ended = dptt("plan", tiny / "tiny.yaml", f"run={tmp_path}/run", "--ranks", "1,2")
    assert ended.code == 0, ended.stderr
    machine = json.loads((tmp_path / "run" / "plan" / "machine.json").read_text())
    assert 1e5 < machine["gradients"] < 1e11
    assert 1e4 < machine["turning"] < 1e10
    assert machine["unit"] == "core"


def allow_few() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (79, 79))


def test_a_layout_with_more_connections_than_the_system_allows_has_a_warning(dptt, tiny, tmp_path):
    arguments = ["--machine", "a100", "--ranks", "8,8"]
    assert dptt("plan", tiny / "tiny.yaml", f"run={tmp_path}/run", *arguments, before=allow_few).code == 0
    text = (tmp_path / "run" / "plan" / "plan.txt").read_text()
    assert "warning: rank 0 of 8 needs about 80 open files and connections; this host allows 79" in text


LAYOUTS = {"scan": Layout(scan=2), "slabs": Layout(slabs=2), "scan × slabs": Layout(scan=2, slabs=2)}


MIXED = "scan × slabs"
NAMES = [pytest.param(name, marks=[] if name == MIXED else pytest.mark.thorough) for name in LAYOUTS]


@pytest.mark.parametrize("name", NAMES)
def test_the_bytes_it_predicts_are_those_that_a_run_counts(name, tiny, tmp_path):
    layout = LAYOUTS[name]
    choices = [
        "reconstruction={epochs: 2, batches: 3, validation_fraction: 0.05, probe: {from_epoch: 1}}",
        *layout.overrides(),
    ]
    ended = run_ranks(
        layout.ranks, ["reconstruct", tiny / "tiny.yaml", f"run={tmp_path / 'run'}", *choices], tmp_path / "said"
    )
    assert [one.code for one in ended] == [0] * layout.ranks, ended[0].stderr
    line = read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]
    counted = line["bytes_sent"] / line["updates"]
    predicted = bytes_per_update(plan_workload(load_config(tiny / "tiny.yaml", choices)), layout)
    # a band of slices is that of the rank that counts, the plan's is the mean of all
    assert predicted == pytest.approx(counted, rel=0.001 if layout.slabs == 1 else 0.25)
