"""Measure the rates of this machine in a few seconds, with the kernels and shapes of the reconstruction itself."""

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
"""Time for which each rate is measured [s]."""
LARGEST_VOLUME = (64, 96, 384)
"""Shape for measuring the rates of the volume: larger than a cache, small enough to be quick."""
POSITIONS = 64
"""Maximum number of patterns for measuring their rate."""
GLOO_LATENCY, GLOO_BANDWIDTH = 1e-4, 6e8
"""Of gloo between processes of one host [s, bytes/s], measured; see docs/scaling.md."""
ETHERNET_LATENCY, ETHERNET_BANDWIDTH = 2e-4, 1e9
"""Assumed between hosts: 10 Gbit/s [s, bytes/s]."""


def measure_machine(workload: Workload) -> Machine:
    """Return the rates of a rank on this machine for `workload`, with the present number of threads of torch."""
    threads, cores = torch.get_num_threads(), len(os.sched_getaffinity(0))
    gradients, losses = _pattern_rates(workload)
    rotating, updating, filtering = _volume_rates(workload)
    slicing = _slice_rate(workload)
    return Machine(
        name="this machine",
        source=f"Measured just now with {threads} thread(s) per rank on {cores} core(s). Network: gloo within a host "
        "as measured by the authors of dptt; 10 Gbit/s between hosts assumed",
        unit="core",
        gradients=gradients,
        losses=losses,
        turning=rotating,
        updating=updating,
        slicing=slicing,
        filtering=filtering,
        reading=2e8,
        overhead=1e-3,
        baseline=resident_bytes(),  # last: with the compiled kernels, but without the arrays
        memory=available_bytes() // max(1, cores // threads),
        ranks_per_node=max(1, cores // threads),
        full_speed=max(1, cores // threads),
        latency=GLOO_LATENCY,
        bandwidth=GLOO_BANDWIDTH,
        latency_between=ETHERNET_LATENCY,
        bandwidth_between=ETHERNET_BANDWIDTH,
    )


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 300 << 20  # as measured with torch 2.13
    return pages * os.sysconf("SC_PAGE_SIZE")


def available_bytes() -> int:
    """Return the physical memory of this host."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _pattern_rates(workload: Workload) -> tuple[float, float]:
    """Return pixels × modes × slices per second, of the gradients and of the loss alone."""
    wave, window = _wave(workload), workload.window_shape
    pattern_bytes = workload.pattern_work * workload.wave_bytes
    positions = max(4, min(POSITIONS, workload.patterns, 4 * workload.chunk_bytes // pattern_bytes))
    image = (window[0] + 8, window[1] + 8)
    random = torch.Generator().manual_seed(0)
    batch = Batch(
        transmission=torch.polar(torch.ones(workload.num_slices, *image), torch.rand(workload.num_slices, *image)).to(
            wave
        ),
        probe=torch.randn(workload.modes, *window, dtype=wave, generator=random),
        corners=torch.randint(0, 8, (positions, 2), generator=random),
        shifts=torch.rand(positions, 2, generator=random, dtype=_real(workload)) - 0.5,
        measured=torch.ones(positions, *window, dtype=torch.int16),
        propagator=torch.ones(window, dtype=wave),
        loss=Misfit("amplitude", 1e-6, None),
    )
    work = positions * workload.pattern_work
    return (
        work / seconds_of(lambda: multislice_gradient(batch, workload.chunk_bytes)),
        work / seconds_of(lambda: multislice_loss(batch, workload.chunk_bytes)),
    )


def _volume_rates(workload: Workload) -> tuple[float, float, float]:
    """Return voxels per second of rotation, update and filter."""
    depth, height, width = (min(n, limit) for n, limit in zip(workload.volume_shape, LARGEST_VOLUME, strict=True))
    slices = max(1, min(workload.num_slices, depth))
    shape = (depth // slices * slices, height, width)
    volume = torch.rand(shape, dtype=_real(workload)).to(_voxel(workload))
    velocity = torch.zeros_like(volume)
    map_ = sampling_map(
        torch.tensor([0.5, 31.0, 0.5], dtype=torch.float64), torch.zeros(2, dtype=torch.float64), (1.0, 1.0, 1.0)
    )
    image = project_slices(volume, map_, slices, 1.0)
    settings = reconstruction_settings(ReconstructionConfig())

    def rotate() -> None:
        project_slices(volume, map_, slices, 1.0)
        backproject_slices(image, map_, shape, 1.0)

    def update() -> None:
        sums = advance_(volume, velocity, volume, 0.5, 1e-3)
        threshold_(volume, thresholds(typical_potential(sums), settings, 0))

    count = volume.numel()
    return (
        2 * count / seconds_of(rotate),
        count / seconds_of(update),
        count / seconds_of(lambda: butterworth_(volume, (1.0, 1.0, 1.0), 0.4, 2)),
    )


def _slice_rate(workload: Workload) -> float:
    """Return pixels × slices per second of the work on slices that does not depend on the number of patterns."""
    _, height, width = workload.volume_shape
    slices = torch.rand(workload.num_slices, min(height, 256), min(width, 512), dtype=_real(workload))
    wave = _wave(workload)

    def work_on_slices() -> None:
        transmitted = transmission(slices.to(_voxel(workload)), 1e-3).to(wave)
        extended = torch.cat([transmitted, transmitted[:, :8]], dim=1)
        gradient = torch.zeros_like(extended)
        gradient = transmission_gradient(gradient[:, : slices.shape[1]].clone(), transmitted, 1e-3)
        torch.cat([torch.view_as_real(gradient).flatten()])
        gradient / slices[0].clamp_min(0.3)

    return slices.numel() / seconds_of(work_on_slices)


def seconds_of(work: Callable[[], object]) -> float:
    """Return the time of one call: the minimum over the calls within `PATIENCE`, after a first call.

    With one thread it is processor time, which excludes other programs on a busy machine.
    """
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    work()
    times: list[float] = []
    end = time.perf_counter() + PATIENCE
    while len(times) < 3 or time.perf_counter() < end:
        start = clock()
        work()
        times.append(clock() - start)
    return min(times)


def _real(workload: Workload) -> torch.dtype:
    return torch.float64 if workload.real_bytes == 8 else torch.float32


def _wave(workload: Workload) -> torch.dtype:
    return torch.complex128 if workload.real_bytes == 8 else torch.complex64


def _voxel(workload: Workload) -> torch.dtype:
    return _wave(workload) if workload.complex_volume else _real(workload)
