"""The rates of this machine, measured in a few seconds with the kernels and shapes of the reconstruction itself."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from dptt.assembly.settings import reconstruction_settings
from dptt.config.reconstruction import ReconstructionConfig
from dptt.kernels import (
    Batch,
    advance_,
    backproject_slices,
    multislice_gradient,
    multislice_loss,
    project_slices,
    threshold_,
)
from dptt.model.losses import Misfit
from dptt.physics.potential import transmission, transmission_gradient
from dptt.physics.rotation import sampling_map
from dptt.planning.machine import Machine
from dptt.planning.workload import Workload
from dptt.solvers.tomography.constraints import butterworth_, thresholds, typical_potential

PATIENCE = 0.6
"""Seconds that one rate is measured."""
LARGEST_VOLUME = (64, 96, 384)
"""Of which the rates of the volume are measured: more than a cache holds, little enough to be quick."""
POSITIONS = 64
"""Patterns at most of which the rate is measured."""
GLOO_LATENCY, GLOO_BANDWIDTH = 1e-4, 6e8
"""Of gloo between processes of one host [s, byte/s], measured; see docs/scaling.md."""
ETHERNET_LATENCY, ETHERNET_BANDWIDTH = 2e-4, 1e9
"""Assumed between hosts of which nothing is known: 10 Gbit/s [s, byte/s]."""


def measure_machine(workload: Workload) -> Machine:
    """Return the rates of a rank on this machine, with the threads that torch has now, for `workload`."""
    threads, cores = torch.get_num_threads(), len(os.sched_getaffinity(0))
    gradients, losses = _pattern_rates(workload)
    turning, updating, filtering = _volume_rates(workload)
    slicing = _slice_rate(workload)
    return Machine(
        name="this machine",
        source=f"measured here just now, {threads} thread(s) a rank, {cores} core(s); network: gloo on one host as "
        "measured by dptt's authors, 10 Gbit/s between hosts assumed",
        unit="core",
        gradients=gradients,
        losses=losses,
        turning=turning,
        updating=updating,
        slicing=slicing,
        filtering=filtering,
        reading=2e8,
        overhead=1e-3,
        baseline=resident_bytes(),  # only now: compiled kernels belong to it, the arrays are gone
        memory=available_bytes() // max(1, cores // threads),
        ranks_per_node=max(1, cores // threads),
        full_speed=max(1, cores // threads),
        latency=GLOO_LATENCY,
        bandwidth=GLOO_BANDWIDTH,
        latency_between=ETHERNET_LATENCY,
        bandwidth_between=ETHERNET_BANDWIDTH,
    )


def resident_bytes() -> int:
    """Return the memory of this process."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 300 << 20  # as measured with torch 2.13
    return pages * os.sysconf("SC_PAGE_SIZE")


def available_bytes() -> int:
    """Return the memory of this host."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _pattern_rates(workload: Workload) -> tuple[float, float]:
    """Return pixels × modes × slices a second of the gradients and of the loss alone."""
    wave, window = _wave(workload), workload.window_shape
    one = workload.pattern_work * workload.wave_bytes
    positions = max(4, min(POSITIONS, workload.patterns, 4 * workload.chunk_bytes // one))
    image = (window[0] + 8, window[1] + 8)
    random = torch.Generator().manual_seed(0)
    batch = Batch(
        torch.polar(torch.ones(workload.num_slices, *image), torch.rand(workload.num_slices, *image)).to(wave),
        torch.randn(workload.modes, *window, dtype=wave, generator=random),
        torch.randint(0, 8, (positions, 2), generator=random),
        torch.rand(positions, 2, generator=random, dtype=_real(workload)) - 0.5,
        torch.ones(positions, *window, dtype=torch.int16),
        torch.ones(window, dtype=wave),
        Misfit("amplitude", 1e-6, None),
    )
    work = positions * workload.pattern_work
    return (
        work / seconds_of(lambda: multislice_gradient(batch, workload.chunk_bytes)),
        work / seconds_of(lambda: multislice_loss(batch, workload.chunk_bytes)),
    )


def _volume_rates(workload: Workload) -> tuple[float, float, float]:
    """Return voxels a second that are turned, updated and filtered."""
    depth, height, width = (min(n, most) for n, most in zip(workload.volume_shape, LARGEST_VOLUME, strict=True))
    slices = max(1, min(workload.num_slices, depth))
    shape = (depth // slices * slices, height, width)
    volume = torch.rand(shape, dtype=_real(workload)).to(_voxel(workload))
    velocity = torch.zeros_like(volume)
    map_ = sampling_map(
        torch.tensor([0.5, 31.0, 0.5], dtype=torch.float64), torch.zeros(2, dtype=torch.float64), (1.0, 1.0, 1.0)
    )
    image = project_slices(volume, map_, slices, 1.0)
    settings = reconstruction_settings(ReconstructionConfig())

    def turn() -> None:
        project_slices(volume, map_, slices, 1.0)
        backproject_slices(image, map_, shape, 1.0)

    def update() -> None:
        sums = advance_(volume, velocity, volume, 0.5, 1e-3)
        threshold_(volume, thresholds(typical_potential(sums), settings, 0))

    count = volume.numel()
    return (
        2 * count / seconds_of(turn),
        count / seconds_of(update),
        count / seconds_of(lambda: butterworth_(volume, (1.0, 1.0, 1.0), 0.4, 2)),
    )


def _slice_rate(workload: Workload) -> float:
    """Return pixels × slices a second that the gradients of a band cost beside its patterns."""
    _, height, width = workload.volume_shape
    slices = torch.rand(workload.num_slices, min(height, 256), min(width, 512), dtype=_real(workload))
    wave = _wave(workload)

    def handle() -> None:
        transmitted = transmission(slices.to(_voxel(workload)), 1e-3).to(wave)
        extended = torch.cat([transmitted, transmitted[:, :8]], dim=1)
        gradient = torch.zeros_like(extended)
        gradient = transmission_gradient(gradient[:, : slices.shape[1]].clone(), transmitted, 1e-3)
        torch.cat([torch.view_as_real(gradient).flatten()])
        gradient / slices[0].clamp_min(0.3)

    return slices.numel() / seconds_of(handle)


def seconds_of(work: Callable[[], object]) -> float:
    """Return the time of one call: the shortest of those that fit into `PATIENCE` after a first one.

    Of one thread it is the processor's time, in which other programs on a busy machine do not count.
    """
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    work()
    found: list[float] = []
    end = time.perf_counter() + PATIENCE
    while len(found) < 3 or time.perf_counter() < end:
        start = clock()
        work()
        found.append(clock() - start)
    return min(found)


def _real(workload: Workload) -> torch.dtype:
    return torch.float64 if workload.real_bytes == 8 else torch.float32


def _wave(workload: Workload) -> torch.dtype:
    return torch.complex128 if workload.real_bytes == 8 else torch.complex64


def _voxel(workload: Workload) -> torch.dtype:
    return _wave(workload) if workload.complex_volume else _real(workload)
