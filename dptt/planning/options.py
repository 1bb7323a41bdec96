"""What the command line of `dptt plan` says."""

import argparse
from dataclasses import dataclass

from dptt.planning.job_script import Site


@dataclass(frozen=True)
class PlanChoices:
    """Which ranks, on what machine, and what the cluster wants to be told."""

    ranks: tuple[int, ...] = ()
    """One number: 1, 2, 4, ... up to it; several: exactly these; none: up to 16 cores or 64 GPUs."""
    machine: str | None = None
    """Name or file; this machine is measured if left out."""
    memory_per_rank: float | None = None
    """[GiB]"""
    ranks_per_node: int | None = None
    approximate: bool = False
    """Consider tilt groups too."""
    efficiency: float = 0.5
    """Least efficiency of a recommended layout."""
    longest_job: float = 24.0
    """[h]"""
    site: Site = Site()


def add_options(command: argparse.ArgumentParser) -> None:
    """Declare the options of `dptt plan`."""
    add = command.add_argument
    add("--ranks", type=_counts, default=(), metavar="N[,N...]", help="up to N ranks (default 16 cores or 64 GPUs)")
    add("--machine", metavar="NAME", help="a100, h100 or a JSON file of rates; this machine is measured if left out")
    add("--memory-per-rank", type=_positive, metavar="GIB", help="memory that a rank may use")
    add(
        "--gpus-per-node", "--ranks-per-node", dest="ranks_per_node", type=_count, metavar="N", help="ranks of a node"
    )
    add("--approximate", action="store_true", help="consider tilt groups, whose result is not that of one rank")
    add("--efficiency", type=_positive, default=0.5, metavar="E", help="least efficiency recommended (default 0.5)")
    add("--longest-job", type=_positive, default=24.0, metavar="H", help="hours that a job may take (default 24)")
    add("--partition", metavar="NAME", help="for the job script")
    add("--account", metavar="NAME", help="for the job script")
    add("--threads", type=_count, default=1, metavar="N", help="cores of a rank (default 1)")
    add("--launcher", choices=("srun", "torchrun"), default="srun", help="what starts the ranks (default srun)")


def plan_choices(options: argparse.Namespace) -> PlanChoices:
    """Return the choices that were parsed."""
    return PlanChoices(
        ranks=options.ranks,
        machine=options.machine,
        memory_per_rank=options.memory_per_rank,
        ranks_per_node=options.ranks_per_node,
        approximate=options.approximate,
        efficiency=options.efficiency,
        longest_job=options.longest_job,
        site=Site(options.partition, options.account, options.threads, options.launcher),
    )


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {text}")
    return number


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.split(","))


def _positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    return number
