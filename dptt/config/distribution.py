"""The section `distribution`: how ranks share the work. The number of ranks comes from the launcher."""

from typing import Annotated, Literal

from pydantic import Field

from dptt.config.base import Count, Positive, Section


class TiltGroupsConfig(Section):
    """Groups of ranks that work on different tilts at once: approximate, see `solvers.tomography.tilt_groups`."""

    count: Count = 1
    """Groups; 1 is exact."""
    synchronise: Literal["updates", "averages"] = "updates"
    """Sum the updates of all groups at once, or let groups go on alone and average their volumes now and then."""
    interval: Count = 8
    """Updates between two averages."""
    gain: Positive = 1.0
    """Factor of the summed updates or averaged changes; averages diverge if it is as large as `count`."""
    outer_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum of the averaged changes."""


class DistributionConfig(Section):
    """Nothing here changes a result beyond rounding, `tilt_groups` apart."""

    backend: Literal["auto", "gloo", "nccl", "mpi"] = "auto"
    """NCCL on GPUs, MPI under mpirun, gloo elsewhere if `auto`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where volume and waves live: one GPU a rank, where PyTorch sees GPUs, if `auto`."""
    memory: Positive | None = None
    """Of a GPU that a rank may use, beside PyTorch's own [MiB]; what is free, less a tenth, if left out. Less of it
    means waves in smaller chunks, then patterns that are sent to the GPU in every epoch anew, not kept there."""
    slabs: Count = 1
    """Parts into which the volume is cut along the tilt axis; must divide the ranks of a tilt group."""
    tilt_groups: TiltGroupsConfig = TiltGroupsConfig()
    patience: Positive = 300.0
    """Seconds without progress after which a hanging rank ends the run; a dead one ends it within a tenth of it."""
    time_limit: Positive | None = None
    """Minutes after which the run ends by itself, its checkpoint complete, with exit code 85."""
