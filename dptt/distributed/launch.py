"""From the environment that a launcher sets to the place of this process: pure functions of a mapping.

    launcher    rank, size and local rank from                    the ranks meet
    torchrun    RANK, WORLD_SIZE, LOCAL_RANK                      at MASTER_ADDR:MASTER_PORT
    mpirun      OMPI_COMM_WORLD_RANK, _SIZE, _LOCAL_RANK          where rank 0 says by MPI
                (Open MPI), or PMI_RANK, PMI_SIZE,
                MPI_LOCALRANKID (MPICH, Intel MPI)
    srun        SLURM_PROCID, SLURM_STEP_NUM_TASKS,               on the first host of the step, at a port made of the
                SLURM_LOCALID                                     numbers of job and step
    python      none of them: rank 0 of 1

The innermost launcher wins: torchrun inside srun is torchrun, mpirun inside an allocation of SLURM is mpirun. A batch
script has SLURM_NTASKS and SLURM_PROCID but is no step: it is one process.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

FIRST_PORT, NUM_PORTS = 15000, 15000
"""Ports for srun: above the registered services, below those that Linux gives to outgoing connections (32768)."""


@dataclass(frozen=True)
class Placement:
    """Where this process stands among its peers, and how it may meet them."""

    launcher: str
    """``python``, ``torchrun``, ``mpirun`` or ``srun``."""
    rank: int
    size: int
    local_rank: int
    """Index among the processes of this host: the accelerator to use."""
    host: str = ""
    """Where the ranks meet, as far as the launcher says."""
    port: int = 0
    mpi: bool = False
    """Whether the launcher tells an MPI library its place."""
    launcher_store: bool = False
    """Whether the launcher keeps a store at `host`, which outlives rank 0."""


class LaunchError(RuntimeError):
    """The processes were started in a way that would give wrong results or hang."""


class JoinError(LaunchError):
    """The ranks did not find each other; said by every rank that notices, as there is nobody to agree with."""


def detect_placement(environment: Mapping[str, str]) -> Placement:
    """Return the placement that `environment` describes; a plain ``python`` is rank 0 of 1.

    Raises
    ------
    LaunchError
        A variable that the launcher should have set is missing, or makes no sense.
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
            f"{placement.launcher} says that this is rank {placement.rank} of {placement.size}; expected a rank "
            "below the size. Variables of another launcher may have been left in the environment"
        )
    return placement


def first_host(nodelist: str) -> str:
    """Return the first host of a list as SLURM writes it: ``n[01-03,7],gpu4`` gives ``n01``."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodelist.strip())
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0]) if first else ""


def port_of_step(job: str, step: str) -> int:
    """Return a port that every task of a step finds by itself, and that other steps hardly share."""
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
    """Tell srun's own PMI from that of an mpirun that srun carried to the hosts, which counts its local ranks."""
    return "SLURM_STEP_NUM_TASKS" in environment and not {"MPI_LOCALRANKID", "MPI_LOCALNRANKS"} & set(environment)


def _srun(environment: Mapping[str, str]) -> Placement:
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


def _number(environment: Mapping[str, str], name: str, otherwise: int | None = None) -> int:
    value = environment.get(name, "" if otherwise is None else str(otherwise))
    if not value.isdecimal():
        raise LaunchError(
            f"{name} is {value!r}; expected the whole number that the launcher sets. Start the ranks with torchrun, "
            "mpirun or srun, or unset what is left of one of them in the environment"
        )
    return int(value)
