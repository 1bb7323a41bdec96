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
"""Shell files that every job script needs beside it."""
MEMORY_MARGIN = 1.2


@dataclass(frozen=True)
class Site:
    """What a cluster wants to be told; None where its default serves."""

    partition: str | None = None
    account: str | None = None
    threads: int = 1
    """Cores of a rank."""
    launcher: str = "srun"
    """``srun`` or ``torchrun``."""


def job_script(
    one: Forecast,
    limit: TimeLimit,
    machine: Machine,
    site: Site,
    command: list[str],
    folder: str,
    chdir: str,
    name: str,
) -> str:
    """Return the batch script that runs `command` in the layout of a forecast.

    `folder` holds the shell files; `command` is what dptt is told on every rank, in the folder `chdir`.
    """
    ranks = one.layout.ranks
    nodes = math.ceil(ranks / machine.ranks_per_node)
    on_a_node = math.ceil(ranks / nodes)
    memory = math.ceil(MEMORY_MARGIN * one.host * on_a_node / GIBIBYTE)
    by_torchrun = site.launcher == "torchrun"
    directives = [
        f"--job-name={name}",
        f"--nodes={nodes}",
        f"--ntasks-per-node={1 if by_torchrun else on_a_node}",
        f"--cpus-per-task={site.threads * (on_a_node if by_torchrun else 1)}",
        f"--mem={memory}G",
        *([f"--gpus-per-node={on_a_node}"] if machine.unit == "GPU" else []),
        f"--time={_clock(limit.minutes)}",
        f"--signal=B:USR1@{limit.lead}",
        "--requeue",
        f"--chdir={chdir}",
        "--open-mode=append",
        f"--output={folder}/%x-%j.log",
        *([f"--partition={site.partition}"] if site.partition else []),
        *([f"--account={site.account}"] if site.account else []),
    ]
    launch = f'bash "$DPTT_JOBS/torchrun.sh" {on_a_node}' if by_torchrun else '"${RANK[@]}"'
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {directive}" for directive in directives),
            f"# Written by `dptt plan`: {one.layout}, {machine.name}.",
            f"# Predicted: {one.duration.total:.3g} s an epoch, {one.total / 60:.3g} min in all, "
            f"{one.memory.total / GIBIBYTE:.2f} GiB a rank.",
            f"DPTT_JOBS={shlex.quote(folder)}",
            f"DPTT_PYTHON={shlex.quote(sys.executable)}",
            '. "$DPTT_JOBS/common.sh"',
            "",
            f'run_step srun --kill-on-bad-exit=1 {launch} "$PYTHON" -m dptt {shlex.join(command)}',
            "",
        ]
    )


def _clock(minutes: int) -> str:
    days, rest = divmod(minutes, 24 * 60)
    return f"{days}-{rest // 60:02d}:{rest % 60:02d}:00"
