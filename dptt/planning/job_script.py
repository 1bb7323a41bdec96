"""SLURM scripts with time, memory and ranks filled in; they share `common.sh`, `rank.sh` and `torchrun.sh`."""

import math
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from dptt.planning import container
from dptt.planning.machine import GIBIBYTE, Machine
from dptt.planning.recommendation import Forecast, TimeLimit
from dptt.planning.sbatch_text import comment, directives, log_pattern

SHELL_FILES = Path(__file__).parent
SHARED = ("common.sh", "rank.sh", "torchrun.sh")
"""Shell files that every job script needs in its folder."""
SITE_OPTIONS = ("partition", "account", "qos", "constraint")
"""Options of sbatch that are written as the user gives them."""
MEMORY_MARGIN = 1.2
"""Factor of the predicted memory of a node."""


@dataclass(frozen=True)
class Site:
    """What depends on the cluster; None leaves it to the cluster's default."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    """Features of the nodes, as sbatch understands them: ``a100&ib``."""
    gres: str | None = None
    """Name of the GPUs where the cluster counts them as generic resources: ``gpu`` or ``gpu:a100``."""
    modules: tuple[str, ...] = ()
    """Environment modules that are loaded before the command."""
    container: str | None = None
    """Apptainer image whose Python runs the command."""
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
    """Return the batch script that runs a job in the layout of a forecast.

    Raises
    ------
    ValueError
        Values cannot be written into a batch script; all of them are listed.
    """
    nodes = math.ceil(forecast.layout.ranks / machine.ranks_per_node)
    ranks_per_node = math.ceil(forecast.layout.ranks / nodes)
    options = {
        "job-name": job.name,
        "nodes": str(nodes),
        **_resources(forecast, ranks_per_node, machine, site),
        "time": _clock(limit.minutes),
        "signal": f"B:USR1@{limit.lead}",
        "requeue": "",
        "chdir": job.chdir,
        "open-mode": "append",
        "output": log_pattern(job.folder, "reconstruct"),
        **{name: value for name in SITE_OPTIONS if (value := getattr(site, name))},
    }
    python = f"{job.folder}/{container.NAME}" if site.container else sys.executable
    lines = [
        "#!/bin/bash",
        *directives(options),
        *_prediction(forecast, machine),
        *(f"module load {shlex.quote(name)} || exit 1" for name in site.modules),
        f"DPTT_JOBS={shlex.quote(job.folder)}",
        f"DPTT_PYTHON={shlex.quote(python)}",
        '. "$DPTT_JOBS/common.sh"',
        "",
        f'run_step {_launch(ranks_per_node, site)} "$PYTHON" -m dptt {shlex.join(job.command)}',
    ]
    return "\n".join(lines) + "\n"


def _resources(forecast: Forecast, ranks_per_node: int, machine: Machine, site: Site) -> dict[str, str]:
    """Return what each node must provide."""
    memory = math.ceil(MEMORY_MARGIN * forecast.host * ranks_per_node / GIBIBYTE)
    tasks = 1 if site.launcher == "torchrun" else ranks_per_node
    resources = {
        "ntasks-per-node": str(tasks),
        "cpus-per-task": str(site.threads * ranks_per_node // tasks),
        "mem": f"{memory}G",
    }
    if machine.unit == "GPU":
        resources |= (
            {"gres": f"{site.gres}:{ranks_per_node}"} if site.gres else {"gpus-per-node": str(ranks_per_node)}
        )
    elif site.gres:
        raise ValueError(
            f"--gres: got {site.gres}, but the machine {machine.name} has no GPUs. Leave it out, or name a machine "
            "with GPUs by --machine"
        )
    return resources


def _prediction(forecast: Forecast, machine: Machine) -> list[str]:
    """Return comments that say what the job should cost."""
    return [
        comment(f"Written by `dptt plan`: {forecast.layout}, {machine.name}."),
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
