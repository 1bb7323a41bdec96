"""SLURM scripts with time, memory and ranks filled in; they share `common.sh`, `rank.sh` and `torchrun.sh`."""

import math
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from dptt.planning.machine import GIBIBYTE, Machine
from dptt.planning.recommendation import Forecast, TimeLimit

SHELL_FILES = Path(__file__).parent
SHARED = ("common.sh", "rank.sh", "torchrun.sh")
"""Shell files that every job script needs in its folder."""
MEMORY_MARGIN = 1.2
"""Factor of the predicted memory of a node."""


@dataclass(frozen=True)
class Site:
    """What depends on the cluster; None leaves it to the cluster's default."""

    partition: str | None = None
    account: str | None = None
    threads: int = 1
    """Cores per rank."""
    launcher: str = "srun"
    """``srun`` or ``torchrun``."""


@dataclass(frozen=True)
class Job:
    """What a batch script runs, and where."""

    command: list[str]
    """Arguments of dptt, the same on every rank."""
    name: str
    folder: str
    """Folder of the shell files and of the log."""
    chdir: str
    """Folder in which the command runs."""


def job_script(forecast: Forecast, job: Job, *, limit: TimeLimit, machine: Machine, site: Site) -> str:
    """Return the batch script that runs a job in the layout of a forecast."""
    nodes = math.ceil(forecast.layout.ranks / machine.ranks_per_node)
    ranks_per_node = math.ceil(forecast.layout.ranks / nodes)
    directives = [
        f"--job-name={job.name}",
        f"--nodes={nodes}",
        *_resources(forecast, ranks_per_node, machine, site),
        f"--time={_clock(limit.minutes)}",
        f"--signal=B:USR1@{limit.lead}",
        "--requeue",
        f"--chdir={job.chdir}",
        "--open-mode=append",
        f"--output={job.folder}/%x-%j.log",
        *([f"--partition={site.partition}"] if site.partition else []),
        *([f"--account={site.account}"] if site.account else []),
    ]
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {directive}" for directive in directives),
        *_prediction(forecast, machine),
        f"DPTT_JOBS={shlex.quote(job.folder)}",
        f"DPTT_PYTHON={shlex.quote(sys.executable)}",
        '. "$DPTT_JOBS/common.sh"',
        "",
        f'run_step {_launch(ranks_per_node, site)} "$PYTHON" -m dptt {shlex.join(job.command)}',
    ]
    return "\n".join(lines) + "\n"


def _resources(forecast: Forecast, ranks_per_node: int, machine: Machine, site: Site) -> list[str]:
    """Return what each node must provide."""
    memory = math.ceil(MEMORY_MARGIN * forecast.host * ranks_per_node / GIBIBYTE)
    tasks = 1 if site.launcher == "torchrun" else ranks_per_node
    return [
        f"--ntasks-per-node={tasks}",
        f"--cpus-per-task={site.threads * ranks_per_node // tasks}",
        f"--mem={memory}G",
        *([f"--gpus-per-node={ranks_per_node}"] if machine.unit == "GPU" else []),
    ]


def _prediction(forecast: Forecast, machine: Machine) -> list[str]:
    """Return comments that say what the job should cost."""
    return [
        f"# Written by `dptt plan`: {forecast.layout}, {machine.name}.",
        f"# Predicted: {forecast.duration.total:.3g} s per epoch, {forecast.total / 60:.3g} min in total, "
        f"{forecast.memory.total / GIBIBYTE:.2f} GiB per rank.",
    ]


def _launch(ranks_per_node: int, site: Site) -> str:
    """Return the command that starts the ranks."""
    start = f'bash "$DPTT_JOBS/torchrun.sh" {ranks_per_node}' if site.launcher == "torchrun" else '"${RANK[@]}"'
    return f"srun --kill-on-bad-exit=1 {start}"


def _clock(minutes: int) -> str:
    days, rest = divmod(minutes, 24 * 60)
    return f"{days}-{rest // 60:02d}:{rest % 60:02d}:00"
