"""Shipped job scripts on a real SLURM: told to end in mid-run, they requeue themselves, resume and finish.

`scancel --signal` sends what `#SBATCH --signal` would send, a minute and more earlier.
"""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from launchers import until
from odd_names import UGLY
from slurm_cluster import SlurmCluster
from small_run import CONFIG, arguments, assert_same_result, epochs_done

from dptt.assembly.workload import plan_workload
from dptt.config import load_config
from dptt.logs import read_metrics
from dptt.planning import job_script as planning
from dptt.planning.layout import Layout
from dptt.planning.machine import KNOWN
from dptt.planning.recommendation import forecast, time_limit

JOBS = Path(__file__).resolve().parents[2] / "jobs"
EPOCHS = "reconstruction.epochs=6"
SIGNALLED_AFTER = 2
"""Epochs after which the job is told that its time is up."""
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL")


@dataclass(frozen=True)
class Job:
    """A job that runs a shipped script, in the folder `run`."""

    slurm: SlurmCluster
    number: str
    run: Path
    log: Path

    @property
    def state(self) -> str:
        """Return what SLURM says: PENDING, RUNNING, COMPLETED, ..."""
        return self.slurm.job(self.number)["JobState"]

    def wait_for_epochs(self, count: int) -> None:
        """Return when so many are done and the job still runs."""
        until(lambda: epochs_done(self.run) >= count or self.state in ENDED)
        assert self.state == "RUNNING", self.said

    def wait_for_requeue(self) -> None:
        """Return when the job is back in the queue."""
        until(lambda: self.slurm.job(self.number)["Restarts"] == "1" or self.state in ENDED)
        assert self.slurm.job(self.number)["Restarts"] == "1", self.said

    def begin_again(self) -> None:
        """Let the job begin as soon as the nodes are free, instead of two minutes after its requeue."""
        # Nodes may be idle a moment before the job, cleaned up, waits again.
        until(lambda: (self.slurm.idle and self.state != "COMPLETING") or self.state in ENDED)
        assert self.state == "PENDING", self.said
        # In a moment: begun at once, the new start's files are removed with those of the old one.
        said = self.slurm.run("scontrol", "update", f"jobid={self.number}", "StartTime=now+3")
        assert said.returncode == 0, said.stderr

    def wait_for_end(self) -> None:
        """Return when the job has ended, as it should."""
        until(lambda: self.state in ENDED)
        assert self.state == "COMPLETED", self.said

    @property
    def said(self) -> str:
        """Return the job's log, and what SLURM knows of it."""
        return f"{self.log.read_text() if self.log.exists() else ''}\n{self.slurm.job(self.number)}"


@pytest.fixture
def submit(slurm, small_series, tmp_path) -> Iterator[Callable[..., Job]]:
    """Submit a shipped script that reconstructs the small series, with options of sbatch and variables."""
    submitted: list[str] = []

    def run(script: str, *options: str, python: str = sys.executable, **variables: str) -> Job:
        words = arguments("reconstruct", small_series, tmp_path / "run", EPOCHS)[3:]
        changes = {"DPTT_PYTHON": python, "DPTT_JOBS": str(JOBS), "STOPPED": str(tmp_path / "stopped")} | variables
        log = tmp_path / "job.log"
        place = [f"--output={log}", "--cpus-per-task=1", *options]
        submitted.append(slurm.submit(*place, str(JOBS / script), *words, changes=changes))
        return Job(slurm, submitted[-1], tmp_path / "run", log)

    yield run
    for number in submitted:
        slurm.run("scancel", number)


@pytest.mark.parametrize(
    ("script", "mpi", "variables"),
    [
        ("12_many_nodes_srun.sbatch", "", {}),
        ("13_many_nodes_torchrun.sbatch", "", {"RANKS": "1"}),
        ("14_cpu_mpi.sbatch", "openmpi", {}),
    ],
)
def test_a_job_that_is_told_to_end_goes_on_after_its_requeue(
    script, mpi, variables, submit, slurm, mpi_environment, reconstructed_alone
):
    python = str(mpi_environment(mpi).python) if mpi else sys.executable
    job = submit(script, f"--nodes={len(slurm.nodes)}", "--ntasks-per-node=1", python=python, **variables)
    job.wait_for_epochs(SIGNALLED_AFTER)
    slurm.run("scancel", "--batch", "--signal=USR1", job.number)
    job.wait_for_requeue()
    job.begin_again()
    done = epochs_done(job.run)
    assert SIGNALLED_AFTER <= done < 6, "it was told in mid-run"
    assert not (job.run / "volume.h5").exists()
    job.wait_for_end()
    assert f"after epoch {done}" in job.said
    assert [line["epoch"] for line in read_metrics(job.run / "metrics.jsonl")] == list(range(1, 7)), "no epoch twice"
    assert_same_result(job.run, reconstructed_alone(EPOCHS))


def test_a_job_on_spare_nodes_makes_room_for_a_more_urgent_one_and_goes_on_afterwards(
    submit, slurm, reconstructed_alone
):
    job = submit("17_preemptible_requeue.sbatch", "--partition=scavenge", "--ntasks-per-node=2")
    job.wait_for_epochs(SIGNALLED_AFTER)
    urgent = ["--partition=main", f"--nodes={len(slurm.nodes)}", "--exclusive", "--output=/dev/null"]
    urgent_job = slurm.submit(*urgent, "--wrap", "true")
    job.wait_for_requeue()
    until(lambda: slurm.job(urgent_job)["JobState"] == "COMPLETED")
    job.begin_again()
    assert not (job.run / "volume.h5").exists()
    job.wait_for_end()
    assert "resumed from" in job.said
    assert_same_result(job.run, reconstructed_alone(EPOCHS))


def script(**fields: str) -> str:
    """Return the script of `dptt plan`, with `fields` of the job and of the site."""
    one = forecast(plan_workload(load_config(CONFIG)), Layout(), KNOWN["h100"])
    places = {"name": "dptt-x", "folder": "/x", "chdir": "/x"}
    job = planning.Job(["--version"], **places | {name: fields.pop(name) for name in places if name in fields})
    limit = time_limit(one, 3600.0)
    return planning.job_script(one, job, limit=limit, machine=KNOWN["h100"], site=planning.Site(**fields))


@pytest.mark.parametrize("ugly", UGLY)
def test_sbatch_reads_every_field_as_it_was_given(ugly, slurm, tmp_path):
    options = dict.fromkeys(planning.SITE_OPTIONS, ugly)
    (tmp_path / "job").write_text(script(name=f"dptt-{ugly}", folder=f"/x/{ugly}", chdir=f"/y/{ugly}", **options))
    ended = slurm.run("sbatch", "-v", "--test-only", str(tmp_path / "job"))
    read = dict(re.findall(r"^sbatch: (\S+) +: (.*)$", ended.stderr, re.MULTILINE))
    expected = options | {"job-name": f"dptt-{ugly}", "chdir": f"/y/{ugly}"}
    assert {name: read[name] for name in expected} == expected
    assert f"invalid partition specified: {ugly.partition(',')[0]}" in ended.stderr, "commas list partitions"


@pytest.mark.parametrize("ugly", ['it\'s "100%j" #1', "back\\slash $HOME; [a|b]"])
def test_slurm_reads_the_script_of_dptt_plan_as_it_was_meant(ugly, slurm, tmp_path):
    folder = tmp_path / ugly
    folder.mkdir()
    text = script(name=f"dptt-{ugly}", folder=str(folder), chdir=str(folder), partition="main", gres="gpu")
    (folder / "job").write_text(text)
    for name in planning.SHARED:
        (folder / name).write_bytes((planning.SHELL_FILES / name).read_bytes())
    number = slurm.submit("--mem=1G", str(folder / "job"))
    until(lambda: slurm.job(number)["JobState"] in ENDED)
    log = folder / ("reconstruct.log" if "\\" in ugly else f"reconstruct-{number}.log")
    assert [path.name for path in folder.glob("*.log")] == [log.name], slurm.job(number)
    assert log.read_text().startswith("dptt "), log.read_text()
    assert f"WorkDir={folder}\n" in slurm.run("scontrol", "show", "job", number).stdout
    assert f"JobName=dptt-{ugly}\n" in slurm.run("scontrol", "show", "job", number).stdout
