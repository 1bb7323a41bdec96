"""From the environment that a launcher sets to the place of this process: a pure function of a mapping."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Placement:
    """Where this process stands among its peers."""

    launcher: str
    """``python`` or ``torchrun``."""
    rank: int
    size: int
    local_rank: int
    """Index among the processes of this host: the accelerator to use."""


class LaunchError(RuntimeError):
    """The processes were started in a way that would give wrong results or hang."""


def detect_placement(environment: Mapping[str, str]) -> Placement:
    """Return the placement that `environment` describes; a plain ``python`` is rank 0 of 1.

    Raises
    ------
    LaunchError
        If a launcher other than torchrun started more than one process: each would silently run the whole job.
    """
    if "TORCHELASTIC_RUN_ID" in environment or {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= set(environment):
        rank = int(environment["RANK"])
        return Placement("torchrun", rank, int(environment["WORLD_SIZE"]), int(environment.get("LOCAL_RANK", rank)))
    for variable, launcher in (
        ("OMPI_COMM_WORLD_SIZE", "mpirun"),
        ("PMI_SIZE", "mpirun"),
        ("SLURM_STEP_NUM_TASKS", "srun"),
    ):
        if int(environment.get(variable, "1")) > 1:
            raise LaunchError(
                f"{launcher} started {environment[variable]} processes ({variable}), which dptt does not join yet; "
                "start it with `torchrun --nproc-per-node=N -m dptt ...` instead"
            )
    return Placement("python", 0, 1, 0)
