"""Every shipped job script asks for what it must, hears the end coming, and says how to start it."""

import re
import subprocess
from pathlib import Path

import pytest

from dptt.planning.job_script import SHARED, SHELL_FILES

JOBS = Path(__file__).resolve().parents[2] / "jobs"
SCRIPTS = sorted(JOBS.glob("*.sbatch"))
SHELL = sorted([*SCRIPTS, *JOBS.glob("*.sh")])
LONG = [path for path in SCRIPTS if "scaling" not in path.name]
NUMBERS = list(range(10, 19))
each = pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)


def directives(path: Path) -> dict[str, str]:
    """Return the #SBATCH options of a script."""
    lines = re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", path.read_text(), re.MULTILINE)
    return {name: value for name, value in lines}


def test_they_are_numbered_in_reading_order_and_the_readme_names_each():
    names = sorted(path.name for path in JOBS.glob("1*.*"))
    assert [int(name[:2]) for name in names] == NUMBERS
    readme = (JOBS / "README.md").read_text()
    assert [name for name in names if f"`{name}`" not in readme] == []


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_the_shell_accepts_its_syntax(path):
    checked = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


@each
def test_its_second_line_says_what_it_is_and_how_to_submit_it(path):
    text = path.read_text()
    assert text.startswith("#!/bin/bash\n# ")
    assert re.search(rf"^#.*sbatch .*jobs/{path.name}", text, re.MULTILINE)


@each
def test_its_directives_come_before_any_command(path):
    lines = path.read_text().splitlines()
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert all(i < first_command for i, line in enumerate(lines) if line.startswith("#SBATCH"))


@each
def test_it_names_no_place_or_account_of_one_site(path):
    assert not re.search(r"(?<![\w$}.])/(home|scratch|work|opt|project)/", path.read_text())
    assert not {"account", "partition", "mail-user", "chdir"} & set(directives(path))


@pytest.mark.parametrize("path", LONG, ids=lambda path: path.name)
def test_it_is_told_in_time_and_goes_back_into_the_queue(path):
    asked = directives(path)
    signal = re.fullmatch(r"B:USR1@(\d+)", asked["signal"])
    assert signal and int(signal[1]) >= 120, "SLURM may signal a minute late"
    assert "requeue" in asked
    assert asked["open-mode"] == "append", "or the log of the first part is lost"
    assert "run_step" in path.read_text()


@pytest.mark.parametrize("path", LONG, ids=lambda path: path.name)
def test_a_rank_that_fails_ends_the_others(path):
    ranks = 2 if "nodes" in path.name or "node" in directives(path).get("ntasks-per-node", "") else 1
    if ranks > 1:
        assert "--kill-on-bad-exit=1" in path.read_text()


def test_torchrun_gets_one_task_a_node():
    for name in ("11_node_of_gpus.sbatch", "13_many_nodes_torchrun.sbatch"):
        assert directives(JOBS / name)["ntasks-per-node"] == "1"
        assert "torchrun.sh" in (JOBS / name).read_text()


def test_threads_follow_the_cores_of_a_task():
    assert "OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}" in (JOBS / "common.sh").read_text()
    assert all("cpus-per-task" in directives(path) for path in SCRIPTS)


def test_jobs_and_dptt_plan_use_the_same_shell_files():
    for name in SHARED:
        assert (JOBS / name).resolve() == (SHELL_FILES / name).resolve()


@pytest.fixture
def slurm_commands(tmp_path) -> Path:
    """A folder with an `scontrol` that notes how it was called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "scontrol").write_text('#!/bin/bash\necho "$@" >> "$CALLS"\nexit 1\n')
    (folder / "scontrol").chmod(0o755)
    return folder


def run_step(slurm_commands: Path, step: str, before: str = "", **variables: str) -> tuple[int, str, str]:
    """Return the code of a batch shell that runs `bash rank.sh bash -c STEP`, what it said, and calls of scontrol."""
    calls = slurm_commands.parent / "calls"
    environment = {
        "PATH": f"{slurm_commands}:/usr/local/bin:/usr/bin:/bin",
        "CALLS": str(calls),
        "SLURM_JOB_ID": "7",
        "DPTT_JOBS": str(JOBS),
        "STOPPED": str(slurm_commands.parent / "stopped"),
        **variables,
    }
    script = f'. "$DPTT_JOBS/common.sh"; {before} run_step "${{RANK[@]}}" bash -c \'{step}\''
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, calls.read_text() if calls.exists() else ""


@pytest.mark.parametrize("code", [0, 1, 2, 70])
def test_a_job_ends_as_its_step_ends_and_is_not_requeued(slurm_commands, code):
    assert run_step(slurm_commands, f"exit {code}") == (code, "", "")


def test_a_step_that_stopped_cleanly_is_requeued(slurm_commands):
    code, said, calls = run_step(slurm_commands, "exit 85")
    assert (code, calls) == (85, "requeue 7\n")
    assert "requeued, restart 1" in said


def test_a_job_is_not_requeued_for_ever(slurm_commands):
    code, said, calls = run_step(slurm_commands, "exit 85", SLURM_RESTART_COUNT="3", MOST_RESTARTS="3")
    assert (code, calls) == (85, "")
    assert "not requeued" in said


@pytest.mark.slow
def test_a_rank_does_not_die_of_the_signal_before_it_listens(slurm_commands):
    before = "(sleep 1; kill -USR1 $$) &"
    code, said, calls = run_step(slurm_commands, "sleep 2; exit 85", before)
    assert (code, calls) == (85, "requeue 7\n")
    assert "received a signal to stop" in said
