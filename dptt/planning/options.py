"""The command-line options of `dptt plan`."""

import argparse
from dataclasses import dataclass

from dptt.planning.job_script import Site


@dataclass(frozen=True)
class PlanChoices:
    """Numbers of ranks, machine, and cluster."""

    ranks: tuple[int, ...] = ()
    """One number stands for 1, 2, 4, ... up to it, several for exactly these, none for up to 16 cores or 64 GPUs."""
    machine: str | None = None
    """Name or file; if None, this machine is measured."""
    memory_per_rank: float | None = None
    """Memory that a rank may use [GiB]."""
    ranks_per_node: int | None = None
    approximate: bool = False
    """Whether to consider tilt groups as well."""
    efficiency: float = 0.5
    """Minimum efficiency of a recommended layout."""
    longest_job: float = 24.0
    """Time limit of a job [h]."""
    site: Site = Site()


def add_options(command: argparse.ArgumentParser) -> None:
    """Declare the options of `dptt plan`."""
    add = command.add_argument
    add(
        "--ranks",
        type=_counts,
        default=(),
        metavar="N[,N...]",
        help="1, 2, 4, ... N ranks, or exactly those listed (default: up to 16 cores or 64 GPUs)",
    )
    add("--machine", metavar="NAME", help="a100, h100, h200 or a JSON file of rates (default: measure this machine)")
    add("--memory-per-rank", type=_positive, metavar="GIB", help="memory that a rank may use [GiB]")
    add("--gpus-per-node", "--ranks-per-node", dest="ranks_per_node", type=_count, metavar="N", help="ranks per node")
    add(
        "--approximate",
        action="store_true",
        help="consider tilt groups as well; their result differs from that of one rank",
    )
    add(
        "--efficiency", type=_positive, default=0.5, metavar="E", help="minimum efficiency to recommend (default 0.5)"
    )
    add("--longest-job", type=_positive, default=24.0, metavar="H", help="time limit of a job in hours (default 24)")
    add(
        "--atoms",
        action="store_true",
        help="instead, say how precisely the series of the section `simulation` can tell atoms (Cramér-Rao bound)",
    )
    add(
        "--precision",
        type=_positive,
        default=0.01,
        metavar="A",
        help="with --atoms: of all coordinates [Å], for which the dose is told (default 0.01)",
    )
    add("--partition", metavar="NAME", help="SLURM partition of the job")
    add("--account", metavar="NAME", help="SLURM account of the job")
    add("--qos", metavar="NAME", help="SLURM quality of service of the job")
    add("--constraint", metavar="FEATURES", help="features that the nodes must have, such as 'a100&ib'")
    add(
        "--gres",
        metavar="NAME",
        help="ask for GPUs as --gres=NAME:COUNT, with NAME gpu or gpu:a100 (default: --gpus-per-node=COUNT)",
    )
    add("--module", action="append", default=[], metavar="NAME", help="module to load in the job; may be repeated")
    add("--container", metavar="IMAGE", help="Apptainer image, whose Python runs dptt")
    add("--threads", type=_count, default=1, metavar="N", help="cores per rank (default 1)")
    add(
        "--launcher",
        choices=("srun", "torchrun"),
        default="srun",
        help="program that starts the ranks (default srun)",
    )


def plan_choices(options: argparse.Namespace) -> PlanChoices:
    """Return the parsed options."""
    return PlanChoices(
        ranks=options.ranks,
        machine=options.machine,
        memory_per_rank=options.memory_per_rank,
        ranks_per_node=options.ranks_per_node,
        approximate=options.approximate,
        efficiency=options.efficiency,
        longest_job=options.longest_job,
        site=Site(
            partition=options.partition,
            account=options.account,
            qos=options.qos,
            constraint=options.constraint,
            gres=options.gres,
            modules=tuple(options.module),
            container=options.container,
            threads=options.threads,
            launcher=options.launcher,
        ),
    )


def _count(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text}")
    return int(text)


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.split(","))


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not number > 0:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    return number
