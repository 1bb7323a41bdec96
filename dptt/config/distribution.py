"""The section `distribution`: how ranks share the work. The number of ranks comes from the launcher."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from dptt.config.base import Count, Number, Positive, Section, StepFraction

_MINUTES = re.compile(r"(\d+(?:\.\d+)?) *min")


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
    gain: StepFraction = 1.0
    """Factor applied to the summed updates or averaged changes. With `averages`, a gain as large as `count`
    diverges."""
    outer_momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    """Momentum applied to the averaged changes."""


AUTO = "auto"
SHARE_OF_CHECKPOINTS = 0.05
"""Of the time, that `auto` spends on writing checkpoints."""
UNNOTICED = 0.1
"""[s] A checkpoint that is written in less follows every epoch by `auto`."""


@dataclass(frozen=True)
class CheckpointInterval:
    """The time between checkpoints: in epochs, in seconds, or as long as `auto` makes it."""

    epochs: int | None = None
    seconds: float | None = None

    def seconds_after(self, writing: float) -> float:
        """Return the least time [s] from a checkpoint that took `writing` [s] to the next, if it is not in epochs."""
        if self.seconds is not None:
            return self.seconds
        return writing * (1 / SHARE_OF_CHECKPOINTS - 1) if writing > UNNOTICED else 0.0


def _interval(value: object) -> object:
    """Return `value` if it is `auto`, a number of epochs or a time in minutes."""
    if value == AUTO:
        return value
    epochs = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    minutes = _MINUTES.fullmatch(value) if isinstance(value, str) else None
    if not (epochs or (minutes and float(minutes[1]) > 0)):
        raise ValueError("expected a number of epochs, such as 5, a time, such as `10 min`, or `auto`")
    return value


def checkpoint_interval(value: int | str) -> CheckpointInterval:
    """Return the interval that `distribution.checkpoint_every` stands for."""
    if value == AUTO:
        return CheckpointInterval()
    if isinstance(value, str) and (minutes := _MINUTES.fullmatch(value)):
        return CheckpointInterval(seconds=60 * float(minutes[1]))
    return CheckpointInterval(epochs=int(value))


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
    checkpoint_every: Annotated[int | str, BeforeValidator(_interval)] = 1
    """Epochs between two checkpoints of a reconstruction, or the time between them: `10 min`. `auto` writes one after
    every epoch, or as often as takes 5 % of the time. The last epoch has one, and so has every run that is stopped.
    With any but 1, a copy of the volume is kept in memory, to undo an epoch that raises the loss."""

    @property
    def checkpoint_interval(self) -> CheckpointInterval:
        """The interval that `checkpoint_every` stands for."""
        return checkpoint_interval(self.checkpoint_every)
