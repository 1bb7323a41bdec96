"""Which layout to take, and how much time to ask for."""

import math
from dataclasses import dataclass, replace

from dptt.planning.duration import Duration, epoch_duration
from dptt.planning.gpu import host_memory, placed
from dptt.planning.layout import Layout, layouts
from dptt.planning.machine import Machine
from dptt.planning.memory import Memory, peak_memory
from dptt.planning.traffic import bytes_per_update
from dptt.planning.workload import Workload

STARTING = 60.0
"""Seconds for imports, the join of ranks, and the first look at the series."""
MARGIN = 1.5
"""Predictions are this much too short at worst; see docs/scaling.md."""
SHORTEST_LEAD = 120.0
"""Seconds: SLURM sends a signal up to a minute late or early."""
SHORTEST_LIMIT = 600.0
"""Seconds: nothing is gained by asking for less."""


@dataclass(frozen=True)
class Forecast:
    """What one layout costs."""

    layout: Layout
    memory: Memory
    duration: Duration
    """Of an epoch."""
    efficiency: float
    """Of the whole run, against one rank with memory without end."""
    sent: float
    """Bytes by a rank in an update."""
    fits: bool
    total: float
    """Seconds of the whole run."""
    host: int
    """Bytes of the host's memory that a rank takes."""
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
        host=host_memory(workload, layout, machine.baseline) if gpu else memory.total,
        resident=workload.resident,
    )


def forecasts(
    workload: Workload, machine: Machine, counts: list[int], approximate: bool = False, interval: int = 1
) -> list[Forecast]:
    """Return every layout of these numbers of ranks, by ranks and then by time."""
    return [
        one
        for count in counts
        for one in sorted(
            (forecast(workload, layout, machine, interval) for layout in layouts(count, workload, approximate)),
            key=lambda one: one.duration.total,
        )
    ]


def _whole_run(workload: Workload, layout: Layout, machine: Machine, epoch: Duration) -> float:
    """Return the seconds of all epochs, of the start, and of reading the patterns for the first time."""
    patterns = workload.tilts * workload.patterns * workload.pattern_bytes / layout.ranks
    return STARTING + patterns / machine.reading + workload.epochs * epoch.total


def recommended(found: list[Forecast], least_efficiency: float = 0.5) -> Forecast | None:
    """Return the fastest that fits in memory and wastes no more than asked; if all waste more, the thriftiest.

    None if nothing fits.
    """
    fitting = [one for one in found if one.fits]
    if not fitting:
        return None
    thrifty = [one for one in fitting if one.efficiency >= least_efficiency]
    if not thrifty:
        return max(fitting, key=lambda one: one.efficiency)
    return min(thrifty, key=lambda one: (one.total, one.layout.ranks))


def worth_showing(found: list[Forecast], chosen: Forecast | None) -> list[Forecast]:
    """Return for every number of ranks all ranks on scan positions, all on slabs, and the fastest that fits."""
    shown = []
    for count in dict.fromkeys(one.layout.ranks for one in found):
        here = [one for one in found if one.layout.ranks == count]
        fitting = [one for one in here if one.fits and one.layout.exact][:1]
        approximate = [one for one in here if one.fits and not one.layout.exact][:1]
        pure = [one for one in here if one.layout.exact and 1 in (one.layout.scan, one.layout.slabs)]
        wanted = [one.layout for one in (*fitting, *approximate, *pure)] + ([chosen.layout] if chosen else [])
        shown += [one for one in here if one.layout in wanted]
    return shown


@dataclass(frozen=True)
class TimeLimit:
    """What to ask a batch system for."""

    minutes: int
    """Limit of one job."""
    lead: int
    """Seconds before the limit at which the job is told to stop: enough for an epoch and its checkpoint."""
    jobs: int
    """Times that the job runs, requeued after each but the last."""
    enough: bool
    """Whether the longest job allowed holds more than the lead."""


def time_limit(one: Forecast, longest: float) -> TimeLimit:
    """Return the limit for a run of which no job may take more than `longest` [s]."""
    lead = _ceil(MARGIN * one.duration.total + SHORTEST_LEAD, 30)
    needed = STARTING + MARGIN * (one.total - STARTING) + lead
    limit = min(max(needed, SHORTEST_LIMIT), longest)
    productive = limit - lead - STARTING
    enough = productive >= MARGIN * one.duration.total
    jobs = 1 if needed <= longest or not enough else math.ceil(MARGIN * (one.total - STARTING) / productive)
    return TimeLimit(math.ceil(limit / 60), lead, jobs, enough)


def _ceil(seconds: float, step: int) -> int:
    return math.ceil(seconds / step) * step
