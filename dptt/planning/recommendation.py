"""The best layout of ranks, and the time limit of its job."""

import math
from dataclasses import dataclass, replace

from dptt.planning.checkpoints import number_of_checkpoints, seconds_per_checkpoint
from dptt.planning.duration import Duration, epoch_duration
from dptt.planning.gpu import host_memory, placed
from dptt.planning.layout import Layout, layouts
from dptt.planning.machine import Machine
from dptt.planning.memory import Memory, peak_memory
from dptt.planning.traffic import bytes_per_update
from dptt.planning.workload import Workload

STARTING = 60.0
"""Seconds for imports, connecting the ranks, and opening the series."""
MARGIN = 1.5
"""Factor by which predictions are too short in the worst case; see docs/scaling.md."""
SHORTEST_LEAD = 120.0
"""Seconds; SLURM sends its signal up to a minute early or late."""
SHORTEST_LIMIT = 600.0
"""Seconds; a shorter limit gains nothing."""


@dataclass(frozen=True)
class Forecast:
    """What one layout costs."""

    layout: Layout
    memory: Memory
    duration: Duration
    """Time of an epoch."""
    efficiency: float
    """Efficiency of the whole run, compared with one rank of unlimited memory."""
    sent: float
    """Bytes that a rank sends per update."""
    fits: bool
    """Whether it fits into the memory that a rank may use."""
    total: float
    """Seconds of the whole run."""
    checkpoint: float
    """Seconds to write a checkpoint."""
    host: int
    """Host memory of a rank [bytes]."""
    resident: bool = False
    """Whether patterns stay on the GPU."""

    @property
    def rank_hours(self) -> float:
        """GPU- or core-hours."""
        return self.total * self.layout.ranks / 3600


def forecast(workload: Workload, layout: Layout, machine: Machine, interval: int = 1) -> Forecast:
    """Return memory, time and traffic of one layout."""
    gpu = workload.gpu_bytes is not None
    endless = replace(workload, resident=gpu)
    workload, fits = placed(workload, layout)
    duration = epoch_duration(workload, layout, machine, interval)
    memory = peak_memory(workload, layout, machine.baseline)
    total = _whole_run(workload, layout, machine, duration)
    alone = _whole_run(workload, Layout(), machine, epoch_duration(endless, Layout(), machine))
    return Forecast(
        layout=layout,
        memory=memory,
        duration=duration,
        efficiency=alone / (total * layout.ranks),
        sent=bytes_per_update(workload, layout, interval),
        fits=fits and memory.total <= machine.memory,
        total=total,
        checkpoint=seconds_per_checkpoint(workload, layout, machine),
        host=host_memory(workload, layout, machine.baseline) if gpu else memory.total,
        resident=workload.resident,
    )


def forecasts(
    workload: Workload, machine: Machine, counts: list[int], approximate: bool = False, interval: int = 1
) -> list[Forecast]:
    """Return the forecasts of all layouts of `counts` ranks, sorted by number of ranks and then by time."""
    return [
        candidate
        for count in counts
        for candidate in sorted(
            (forecast(workload, layout, machine, interval) for layout in layouts(count, workload, approximate)),
            key=lambda candidate: candidate.duration.total,
        )
    ]


def _whole_run(workload: Workload, layout: Layout, machine: Machine, epoch: Duration) -> float:
    """Return the seconds of the start, of reading the patterns for the first time, of all epochs and checkpoints."""
    patterns = workload.tilts * workload.patterns * workload.pattern_bytes / layout.ranks
    writing = seconds_per_checkpoint(workload, layout, machine)
    checkpoints = number_of_checkpoints(workload, epoch.total, writing) * writing
    return STARTING + patterns / machine.reading + workload.epochs * epoch.total + checkpoints


def recommended(candidates: list[Forecast], least_efficiency: float = 0.5) -> Forecast | None:
    """Return the fastest layout that fits into memory with the minimum efficiency, or else the most efficient one.

    None if nothing fits.
    """
    fitting = [candidate for candidate in candidates if candidate.fits]
    if not fitting:
        return None
    efficient = [candidate for candidate in fitting if candidate.efficiency >= least_efficiency]
    if not efficient:
        return max(fitting, key=lambda candidate: candidate.efficiency)
    return min(efficient, key=lambda candidate: (candidate.total, candidate.layout.ranks))


def worth_showing(candidates: list[Forecast], chosen: Forecast | None) -> list[Forecast]:
    """Return, for every number of ranks, the layouts of scan ranks only, of slabs only, and the fastest that fits."""
    shown = []
    for count in dict.fromkeys(candidate.layout.ranks for candidate in candidates):
        same_count = [candidate for candidate in candidates if candidate.layout.ranks == count]
        layouts_that_fit = [candidate.layout for candidate in same_count if candidate.fits]  # the fastest first
        wanted = [
            *[layout for layout in layouts_that_fit if layout.exact][:1],
            *[layout for layout in layouts_that_fit if not layout.exact][:1],
            *[c.layout for c in same_count if c.layout.exact and 1 in (c.layout.scan, c.layout.slabs)],
            *([chosen.layout] if chosen else []),
        ]
        shown += [candidate for candidate in same_count if candidate.layout in wanted]
    return shown


@dataclass(frozen=True)
class TimeLimit:
    """The time limit of a job in a batch system."""

    minutes: int
    """Time limit of one job."""
    lead: int
    """Seconds before the limit at which the job gets a signal to stop: enough for an epoch and its checkpoint."""
    jobs: int
    """How often the job runs; it requeues itself after each time but the last."""
    enough: bool
    """Whether the longest allowed job completes at least one epoch."""


def time_limit(candidate: Forecast, longest: float) -> TimeLimit:
    """Return the time limit of a run whose jobs may take at most `longest` [s] each."""
    piece = candidate.duration.total + candidate.checkpoint
    lead = _ceil(MARGIN * piece + SHORTEST_LEAD, 30)
    needed = STARTING + MARGIN * (candidate.total - STARTING) + lead
    limit = min(max(needed, SHORTEST_LIMIT), longest)
    productive = limit - lead - STARTING
    enough = productive >= MARGIN * piece
    jobs = 1 if needed <= longest or not enough else math.ceil(MARGIN * (candidate.total - STARTING) / productive)
    return TimeLimit(math.ceil(limit / 60), lead, jobs, enough)


def _ceil(seconds: float, step: int) -> int:
    return math.ceil(seconds / step) * step
