"""Where the time of an epoch went, on this rank and on all ranks.

Readers and communicators count their own seconds; what remains of the total is computing.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dptt.distributed.comm import Communicator
from dptt.distributed.mesh import Mesh
from dptt.solvers.tomography.tilt_patterns import TiltPatterns


@dataclass(frozen=True)
class Counters:
    """What this rank has counted so far: seconds on the clock, reading and communicating, and bytes sent."""

    clock: float
    read: float
    communicate: float
    bytes_sent: int

    @classmethod
    def now(cls, tilts: Sequence[TiltPatterns], mesh: Mesh) -> "Counters":
        """Return the present counts."""
        read = sum(tilt.seconds_reading for tilt in tilts)
        return cls(time.perf_counter(), read, mesh.seconds_communicating, mesh.bytes_sent)

    def seconds_since(self, start: "Counters") -> dict[str, float]:
        """Return the seconds between `start` and these counts, by kind."""
        total = self.clock - start.clock
        read, communicate = self.read - start.read, self.communicate - start.communicate
        return {"read": read, "communicate": communicate, "compute": total - read - communicate, "total": total}


def seconds_of_ranks(seconds: dict[str, float], world: Communicator) -> dict[str, list[float]]:
    """Return the seconds of all ranks, by rank, for every kind of time.

    The rank that waits least in collectives only communicates there; what others wait beyond that is ``idle``.
    """
    names = list(seconds)
    table = torch.zeros((world.size, len(names)), dtype=torch.float64)
    table[world.rank] = torch.tensor([seconds[name] for name in names], dtype=torch.float64)
    ranks = dict(zip(names, world.sum_(table).T.tolist(), strict=True))
    shortest = min(ranks["communicate"])
    idle = [waited - shortest for waited in ranks["communicate"]]
    return {**ranks, "communicate": [shortest] * world.size, "idle": idle}
