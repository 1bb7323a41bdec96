"""How ranks may share a reconstruction: tilt groups × scan ranks × slabs, as in `distributed.mesh`."""

import math
from dataclasses import dataclass

from dptt.planning.workload import Workload


@dataclass(frozen=True)
class Layout:
    """A mesh of ranks."""

    tilt_groups: int = 1
    scan: int = 1
    slabs: int = 1

    @property
    def ranks(self) -> int:
        """Number of all ranks."""
        return self.tilt_groups * self.scan * self.slabs

    @property
    def group_ranks(self) -> int:
        """Number of ranks in a tilt group: those that share the scan positions of a minibatch."""
        return self.scan * self.slabs

    @property
    def exact(self) -> bool:
        """Whether the result is that of one rank, to rounding."""
        return self.tilt_groups == 1

    def __str__(self) -> str:
        parts = [
            f"{count} {name}{'s' * (count > 1 and name != 'scan')}"
            for count, name in ((self.tilt_groups, "tilt group"), (self.scan, "scan"), (self.slabs, "slab"))
            if count > 1
        ]
        return " × ".join(parts) or "one rank"

    def overrides(self) -> list[str]:
        """Return the overrides that give this layout; the remaining ranks share scan positions."""
        options = {"distribution.slabs": self.slabs, "distribution.tilt_groups.count": self.tilt_groups}
        return [f"{key}={value}" for key, value in options.items()]


def layouts(ranks: int, workload: Workload, approximate: bool = False) -> list[Layout]:
    """Return all meshes of `ranks` that give every rank rows and tilts; only exact ones unless `approximate`."""
    meshes = []
    for groups in _divisors(ranks) if approximate else [1]:
        for slabs in _divisors(ranks // groups):
            if groups <= workload.tilts and slabs <= workload.volume_shape[1]:
                meshes.append(Layout(groups, ranks // groups // slabs, slabs))
    return meshes


def rank_counts(largest: int) -> list[int]:
    """Return 1, 2, 4, ... and `largest`: the numbers of ranks to compare in a table."""
    return sorted({2**i for i in range(int(math.log2(largest)) + 1)} | {largest})


def share(total: float | int, parts: int) -> int:
    """Return the largest of `parts` nearly equal parts of `total` items."""
    return math.ceil(total / parts)


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
