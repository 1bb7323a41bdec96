"""`advance_` and `threshold_` on the cores of a CPU: every voxel is read and written once in each.

Sums are formed plane by plane and added in the order of the planes, the same on any number of threads.
"""

import math

import torch
from torch import Tensor

from dptt.kernels.cpu.compiled import compiled
from dptt.kernels.cpu.threads import in_threads, stretches
from dptt.kernels.volume_step import Thresholds


def advance_(volume: Tensor, velocity: Tensor, update: Tensor, momentum: float, step: float) -> Tensor:
    """Move the volume with momentum and return the sums of (Re V)² and (Re V)⁴."""
    parts = 2 if volume.is_complex() else 1
    flat = [_planes(tensor) for tensor in (volume, velocity, update)]
    sums = torch.zeros(len(volume), 2, dtype=torch.float64)
    real = flat[0].dtype.type

    def part(some: slice) -> None:
        _advance(*(f[some] for f in flat), real(momentum), real(step), parts, sums.numpy()[some])

    in_threads(part, stretches(len(volume)))
    return torch.tensor([math.fsum(column) for column in sums.T.tolist()], dtype=torch.float64)


def threshold_(volume: Tensor, thresholds: Thresholds) -> None:
    """Take away from a volume what `thresholds` say."""
    flat = _planes(volume)
    real = flat.dtype.type
    first = real(1 - thresholds.negative), real(thresholds.shrinkage)
    second = real(1 - thresholds.negative_absorption), real(thresholds.absorption_shrinkage)
    if not volume.is_complex():
        second = first

    in_threads(lambda some: _threshold(flat[some], *first, *second), stretches(len(volume)))


def _planes(volume: Tensor):
    """Return the planes of a volume as lines of real numbers; of a complex one, real and imaginary parts in turn."""
    assert volume.is_contiguous()
    return (torch.view_as_real(volume) if volume.is_complex() else volume).view(len(volume), -1).numpy()


@compiled
def _advance(volume, velocity, update, momentum, step, parts, sums):
    for plane in range(volume.shape[0]):
        values, speeds, changes = volume[plane], velocity[plane], update[plane]
        for i in range(values.size):
            speeds[i] = speeds[i] * momentum + changes[i]
            values[i] -= step * speeds[i]
        second = fourth = 0.0
        for i in range(0, values.size, parts):
            square = values[i] * values[i]
            second += square
            fourth += square * square
        sums[plane, 0], sums[plane, 1] = second, fourth


@compiled
def _threshold(volume, keep_even, shrink_even, keep_odd, shrink_odd):
    for plane in range(volume.shape[0]):
        values = volume[plane]
        pairs = values.size // 2
        for i in range(pairs):
            values[2 * i] = _shrunk(values[2 * i], keep_even, shrink_even)
            values[2 * i + 1] = _shrunk(values[2 * i + 1], keep_odd, shrink_odd)
        if values.size > 2 * pairs:
            values[2 * pairs] = _shrunk(values[2 * pairs], keep_even, shrink_even)


@compiled
def _shrunk(value, keep, threshold):
    value = value * keep if value < 0 else value
    if value > threshold:
        return value - threshold
    if value < -threshold:
        return value + threshold
    return value if threshold == 0 else value * 0
