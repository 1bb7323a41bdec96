"""Find the place of this process from the environment that its launcher sets: pure functions of a mapping.

    launcher    rank, size and local rank from                    the ranks meet
    torchrun    RANK, WORLD_SIZE, LOCAL_RANK                      at MASTER_ADDR:MASTER_PORT
    mpirun      OMPI_COMM_WORLD_RANK, _SIZE, _LOCAL_RANK          where rank 0 announces by MPI
                (Open MPI), or PMI_RANK, PMI_SIZE,
                MPI_LOCALRANKID (MPICH, Intel MPI)
    srun        SLURM_PROCID, SLURM_STEP_NUM_TASKS,               on the first host of the step, at a port derived
                SLURM_LOCALID                                     from the numbers of job and step
    python      none of them: rank 0 of 1

The innermost launcher wins: torchrun inside srun is torchrun, mpirun inside an allocation of SLURM is mpirun. A batch
script has SLURM_NTASKS and SLURM_PROCID but is not a step: it is one process.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

FIRST_PORT, NUM_PORTS = 15000, 15000
"""Ports for srun: below the range that Linux uses for outgoing connections (from 32768)."""


@dataclass(frozen=True)
class Placement:
    """The rank of this process, and how it can meet the others."""

    launcher: str
    """``python``, ``torchrun``, ``mpirun`` or ``srun``."""
    rank: int
    size: int
    local_rank: int
    """Index among the processes of this host; selects the GPU."""
    host: str = ""
    """Where the ranks meet, if the launcher says so."""
    port: int = 0
    mpi: bool = False
    """Whether the launcher starts MPI processes."""
    launcher_store: bool = False
    """Whether the launcher keeps a store at `host`, which outlives rank 0."""


class LaunchError(RuntimeError):
    """The ranks were started in a way that would give wrong results or hang."""


class JoinError(LaunchError):
    """The ranks did not find each other. Every rank that notices prints it, as they cannot agree on one."""


def detect_placement(environment: Mapping[str, str]) -> Placement:
    """Return the placement that `environment` describes; a plain ``python`` is rank 0 of 1.

    Raises
    ------
    LaunchError
        A variable of the launcher is missing or not valid.
    """
    if "TORCHELASTIC_RUN_ID" in environment or {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= set(environment):
        placement = _torchrun(environment)
    elif _number(environment, "OMPI_COMM_WORLD_SIZE", 1) > 1:
        placement = _mpirun(environment, "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")
    elif _number(environment, "PMI_SIZE", 1) > 1 and not _is_task_of_srun(environment):
        placement = _mpirun(environment, "PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID")
    elif _number(environment, "SLURM_STEP_NUM_TASKS", 1) > 1 and "OMPI_COMM_WORLD_SIZE" not in environment:
        placement = _srun(environment)
    else:
        return Placement("python", 0, 1, 0)
    if not 0 <= placement.rank < placement.size:
        raise LaunchError(
            f"{placement.launcher} set rank {placement.rank} of {placement.size}; expected a rank below the size. "
            "Variables of another launcher may be left in the environment; unset them"
        )
    return placement


def first_host(nodelist: str) -> str:
    """Return the first host of a list as SLURM writes it: ``n[01-03,7],gpu4`` gives ``n01``."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodelist.strip())
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0]) if first else ""


def port_of_step(job: str, step: str) -> int:
    """Return a port that is the same for every task of a step, and most likely differs between steps."""
    numbers = [int(digits) for digits in re.findall(r"\d+", f"{job} {step}")]
    mixed = 0
    for number in numbers:
        mixed = (mixed * 7 + number) % NUM_PORTS
    return FIRST_PORT + mixed


def _torchrun(environment: Mapping[str, str]) -> Placement:
    rank = _number(environment, "RANK")
    return Placement(
        "torchrun",
        rank,
        _number(environment, "WORLD_SIZE"),
        _number(environment, "LOCAL_RANK", rank),
        environment.get("MASTER_ADDR", "127.0.0.1"),
        _number(environment, "MASTER_PORT", 29500),
        launcher_store=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )


def _mpirun(environment: Mapping[str, str], size: str, rank: str, local_rank: str) -> Placement:
    number = _number(environment, rank)
    return Placement("mpirun", number, _number(environment, size), _number(environment, local_rank, number), mpi=True)


def _is_task_of_srun(environment: Mapping[str, str]) -> bool:
    """Return whether PMI is that of srun itself, not of an mpirun that starts its processes through srun.

    Such an mpirun sets local ranks.
    """
    return "SLURM_STEP_NUM_TASKS" in environment and not {"MPI_LOCALRANKID", "MPI_LOCALNRANKS"} & set(environment)


def _srun(environment: Mapping[str, str]) -> Placement:
    if environment.get("SLURM_STEP_NUM_NODES") == "1":
        environment = {"MASTER_ADDR": "127.0.0.1", **environment}  # nobody else need reach the store
    job, step = environment.get("SLURM_JOB_ID", "0"), environment.get("SLURM_STEP_ID", "0")
    host = environment.get("MASTER_ADDR") or first_host(
        environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    )
    return Placement(
        "srun",
        _number(environment, "SLURM_PROCID"),
        _number(environment, "SLURM_STEP_NUM_TASKS"),
        _number(environment, "SLURM_LOCALID"),
        host or "127.0.0.1",
        _number(environment, "MASTER_PORT", port_of_step(job, step)),
        mpi=bool({"PMI_RANK", "PMIX_RANK"} & set(environment)),
    )


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    value = environment.get(name, "" if default is None else str(default))
    if not value.isdecimal():
        raise LaunchError(
            f"{name} is {value!r}; expected the integer that the launcher sets. Start the ranks with torchrun, "
            "mpirun or srun, or unset the variables that a launcher left in the environment"
        )
    return int(value)
