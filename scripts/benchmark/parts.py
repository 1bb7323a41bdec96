"""Where the time of the compiled kernel goes: each of its passes alone, on a wave that stays in the cache.

Times are those of one thread and of one call over a window of the workload, weighted by how often the kernel makes
that call for a position; bytes are those that a pass reads and writes, in whatever cache.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from benchmark.workloads import Workload
from dptt.kernels.cpu import transforms, waves
from dptt.kernels.cpu.compiled import compiled
from dptt.kernels.losses import AMPLITUDE


@dataclass(frozen=True)
class Pass:
    """One pass over a window."""

    name: str
    bytes_per_pixel: int
    times: int
    """A position makes it so often."""
    run: Callable[[int], None]
    """Makes it so many times."""


def measured_parts(workload: Workload, rounds: int = 5) -> list[dict]:
    """Return the seconds and bytes of every pass for one position of the workload."""
    n, modes, slices = workload.window, workload.modes, workload.slices
    real, complex_ = torch.float32, torch.complex64
    random = torch.Generator().manual_seed(0)
    phase = torch.randn(n + 64, n + 64, generator=random)
    image = torch.polar(torch.ones_like(phase), phase).numpy()  # products keep their size: tiny numbers are slow
    gradient, illumination = np.zeros_like(image), np.zeros(image.shape, np.float32)
    wave, other, spectrum = (torch.randn(n, n, dtype=complex_, generator=random).numpy() for _ in range(3))
    propagator = np.exp(1j * np.arange(n * n).reshape(n, n)).astype(np.complex64)
    sum_ = np.zeros_like(wave)
    far = torch.randn(modes, n, n, dtype=complex_, generator=random).numpy()
    slope, counts = np.ones((n, n), np.float32), torch.rand(n, n, dtype=real, generator=random).numpy()
    mask, line = np.ones((n, n), np.bool_), np.ones(n, np.complex64)
    frequency = np.fft.fftfreq(n).astype(np.float32)
    epsilon, scale = np.float32(1e-6), np.float32(1 / n**2)
    with transforms.plan((n, n), complex_) as plan:
        passes = (
            Pass("transforms", 16, 2 * (2 * slices - 1) * modes, lambda k: _transforms(plan, wave, k)),
            Pass("propagator", 24, 2 * (slices - 1) * modes, lambda k: _multiply(wave, propagator, k)),
            Pass("times slice", 24, slices * modes, lambda k: _times_window(other, wave, image, k)),
            Pass("back through slice", 48, slices * modes, lambda k: _back(other, wave, image, gradient, k)),
            Pass(
                "residual, slope", 8 * modes + 12, 1, lambda k: _misfit(slope, far, counts, mask, epsilon, scale, k)
            ),
            Pass("far field times slope", 20, modes, lambda k: _times_slope(far[:1], slope, k)),
            Pass("illumination", 16, modes, lambda k: _illuminate(illumination, wave, k)),
            Pass("probe gradient", 32, modes, lambda k: _probe(sum_, wave, spectrum, line, frequency, k)),
        )
        found = []
        for one in passes:
            one.run(1)  # compiled
            count = max(1, int(2e7 / (n * n * one.bytes_per_pixel)))
            best = min(_seconds(one.run, count) for _ in range(rounds)) / count
            wave[:], other[:] = propagator, propagator
            found.append(
                {
                    "pass": one.name,
                    "seconds_per_position": best * one.times,
                    "bytes_per_position": one.bytes_per_pixel * n * n * one.times,
                    "bytes_per_second": one.bytes_per_pixel * n * n / best,
                }
            )
    return found


def _seconds(run: Callable[[int], None], count: int) -> float:
    start = time.perf_counter()
    run(count)
    return time.perf_counter() - start


@compiled
def _transforms(plan, wave, count):
    for i in range(count):  # unscaled, so numbers soon overflow, which takes no longer
        if i % 2 == 0:
            waves.forward_(plan, wave)
        else:
            waves.backward_(plan, wave)


@compiled
def _multiply(wave, propagator, count):
    for _ in range(count):
        waves.times_(wave, propagator)


@compiled
def _times_window(exit_wave, wave, image, count):
    for _ in range(count):
        waves.times_window_(exit_wave, wave, image, 3, 5)


@compiled
def _back(gradient, wave, image, image_gradient, count):
    for _ in range(count):
        waves.back_through_slice_(gradient, wave, image, image_gradient, 3, 5)


@compiled
def _misfit(slope, far, counts, mask, epsilon, scale, count):
    for _ in range(count):
        waves.misfit_(slope, far, counts, mask, AMPLITUDE.code, epsilon, scale)


@compiled
def _times_slope(far, slope, count):
    for _ in range(count):
        waves.times_slope_(far, slope)


@compiled
def _illuminate(illumination, wave, count):
    for _ in range(count):
        waves.add_intensity_(illumination, wave, 3, 5)


@compiled
def _probe(gradient, wave, spectrum, line, frequency, count):
    for _ in range(count):
        waves.probe_gradient_(gradient, wave, spectrum, line, line, frequency, frequency)
