"""Times side by side, peak memory, and whether the machine was quiet."""

import ctypes
import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

Work = Callable[[], None]


def seconds(work: Work) -> float:
    """Return the wall time of one call [s]."""
    _synchronise()
    start = time.perf_counter()
    work()
    _synchronise()
    return time.perf_counter() - start


def best_of(candidates: list[Work], rounds: int = 2) -> Work:
    """Return the candidate that is fastest; each is called once before it is timed."""
    for candidate in candidates:
        candidate()
    return min(candidates, key=lambda work: min(seconds(work) for _ in range(rounds)))


def side_by_side(contestants: Mapping[str, Work], repeats: int) -> dict[str, list[float]]:
    """Return the times of all contestants, which take turns so that a busy moment affects all alike."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for work in contestants.values():
        work()
    for _ in range(repeats):
        for name, work in contestants.items():
            times[name].append(seconds(work))
    return times


def ratio(times: Mapping[str, list[float]], name: str, base: str) -> float:
    """Return the median of the ratios of calls made one after the other."""
    return statistics.median(a / b for a, b in zip(times[name], times[base], strict=True))


def peak_bytes(work: Work) -> int | None:
    """Return the peak memory of a call, beyond what was held before [bytes]; None if unknown."""
    work()  # what is compiled or imported the first time is not counted
    if torch.cuda.is_available():
        _synchronise()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        _synchronise()
        return torch.cuda.max_memory_allocated() - before
    try:
        ctypes.CDLL(None).malloc_trim(0)  # or memory that was used before is used again, and not seen
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    except (OSError, AttributeError):
        return None
    before = _status("VmRSS")
    work()
    return max(_status("VmHWM") - before, 0)


def busy_share(wait: float = 1.0) -> float | None:
    """Return the share of the cores that other processes use while this one sleeps; None if unknown."""
    try:
        before = _core_seconds()
        mine = resource.getrusage(resource.RUSAGE_SELF)
        time.sleep(wait)
        after, now = _core_seconds(), resource.getrusage(resource.RUSAGE_SELF)
    except OSError:
        return None
    own = now.ru_utime + now.ru_stime - mine.ru_utime - mine.ru_stime
    busy, total = (b - a for a, b in zip(before, after, strict=True))
    return max(busy - own, 0.0) / total


def _core_seconds() -> tuple[float, float]:
    """Return the seconds of all cores that were busy, and all of them."""
    numbers = [int(n) / os.sysconf("SC_CLK_TCK") for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = numbers[3] + numbers[4]
    return sum(numbers) - idle, sum(numbers)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
