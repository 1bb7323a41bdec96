"""Where the time of an epoch went, on this rank and on all."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dptt.distributed.comm import Communicator


class Stopwatch:
    """Seconds spent reading and communicating; the rest is computing."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._seconds = {"read": 0.0, "communicate": 0.0}

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Count the time of a block as ``read`` or ``communicate``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[what] += time.perf_counter() - start

    def stop(self) -> dict[str, float]:
        """Return the seconds of this rank since the start."""
        total = time.perf_counter() - self._start
        return {**self._seconds, "compute": total - sum(self._seconds.values()), "total": total}


def seconds_of_ranks(seconds: dict[str, float], world: Communicator) -> dict[str, list[float]]:
    """Return the seconds of all ranks, by rank, for every kind of time.

    What a rank waits in a collective beyond the one that waited least is time in which it was ``idle``.
    """
    names = list(seconds)
    table = torch.zeros((world.size, len(names)), dtype=torch.float64)
    table[world.rank] = torch.tensor([seconds[name] for name in names], dtype=torch.float64)
    ranks = dict(zip(names, world.sum_(table).T.tolist(), strict=True))
    least = min(ranks["communicate"])
    return {**ranks, "communicate": [least] * world.size, "idle": [waited - least for waited in ranks["communicate"]]}
