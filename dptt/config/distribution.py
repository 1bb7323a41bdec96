"""The section `distribution`: how ranks share the work. The number of ranks comes from the launcher."""

from typing import Annotated, Literal

from pydantic import Field

from dptt.config.base import Count, Number, Positive, Section


class TiltGroupsConfig(Section):
    """Groups of ranks that work on different tilts at the same time. With more than one, the result is
    approximate.
    """

    count: Count = 1
    """Number of groups; 1 is exact. More are useful only if there are more ranks than one tilt can keep busy."""
    synchronise: Literal["updates", "averages"] = "updates"
    """`updates` sums the updates of all groups after every minibatch; `averages` lets each group work alone and
    averages the volumes from time to time, which sends less."""
    interval: Count = 8
    """Updates between two averages of the volumes."""
    gain: Positive = 1.0
    """Factor applied to the summed updates or averaged changes. With `averages`, a gain as large as `count`
    diverges."""
    outer_momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    """Momentum applied to the averaged changes."""


class DistributionConfig(Section):
    """How the work is shared. Apart from `tilt_groups`, nothing in this section changes a result beyond rounding."""

    backend: Literal["auto", "gloo", "nccl", "mpi"] = "auto"
    """Communication library. `auto` takes NCCL on GPUs, MPI under mpirun and gloo elsewhere."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the volume and the waves are computed. `auto` takes one GPU per rank if PyTorch finds GPUs, else the
    CPU."""
    memory: Positive | None = None
    """GPU memory that a rank may use, in addition to PyTorch's own [MiB]; 90 % of the free memory if left out. With
    less memory, waves are computed in smaller chunks; with less still, patterns no longer stay on the GPU but are
    sent to it in every epoch."""
    slabs: Count = 1
    """Parts into which the volume is cut along the tilt axis; must divide the number of ranks in a tilt group. Raise
    it if the volume does not fit into the memory of one rank."""
    tilt_groups: TiltGroupsConfig = TiltGroupsConfig()
    patience: Positive = 300.0
    """Time [s] without progress after which a rank that hangs ends the run; a dead rank ends it within a tenth of
    that."""
    time_limit: Positive | None = None
    """Time [min] after which the run stops with a complete checkpoint and exit code 85; no limit if left out."""
