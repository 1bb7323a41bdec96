"""The steps of a volume on the cores of a CPU: every voxel is read and written once in each pass.

Sums are formed plane by plane and added in the order of the planes, the same on any number of threads.
"""

import math

import numpy as np
import torch
from torch import Tensor

from dptt.kernels.cpu.compiled import compiled
from dptt.kernels.cpu.threads import in_threads, stretches
from dptt.kernels.volume_step import Thresholds


def advance_(volume: Tensor, velocity: Tensor, update: Tensor, momentum: float, step: float) -> Tensor:
    """Move the volume with momentum and return the sums of (Re V)² and (Re V)⁴."""
    values, speeds, changes = (_planes(tensor) for tensor in (volume, velocity, update))
    sums, parts, real = _no_sums(volume), _parts(volume), values.dtype.type

    def part(some: slice) -> None:
        _advance(values[some], speeds[some], changes[some], real(momentum), real(step), parts, sums[some])

    in_threads(part, stretches(len(volume)))
    return _total(sums)


def move_(volume: Tensor, velocity: Tensor, step: float) -> Tensor:
    """Do `advance_` with a velocity that holds the update already."""
    values, speeds = _planes(volume), _planes(velocity)
    sums, parts, real = _no_sums(volume), _parts(volume), values.dtype.type
    in_threads(lambda some: _move(values[some], speeds[some], real(step), parts, sums[some]), stretches(len(volume)))
    return _total(sums)


def threshold_(volume: Tensor, thresholds: Thresholds) -> None:
    """Constrain a volume by `thresholds`, in place."""
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


def _parts(volume: Tensor) -> int:
    """Return the real numbers of a voxel."""
    return 2 if volume.is_complex() else 1


def _no_sums(volume: Tensor) -> np.ndarray:
    return np.zeros((len(volume), 2))


def _total(sums: np.ndarray) -> Tensor:
    return torch.tensor([math.fsum(column) for column in sums.T.tolist()], dtype=torch.float64)


@compiled
def _advance(volume, velocity, update, momentum, step, parts, sums):
    for plane in range(volume.shape[0]):
        speeds, changes = velocity[plane], update[plane]
        for i in range(speeds.size):
            speeds[i] = speeds[i] * momentum + changes[i]
        _move_plane(volume[plane], speeds, step, parts, sums[plane])


@compiled
def _move(volume, velocity, step, parts, sums):
    for plane in range(volume.shape[0]):
        _move_plane(volume[plane], velocity[plane], step, parts, sums[plane])


@compiled
def _move_plane(values, speeds, step, parts, sums):
    for i in range(values.size):
        values[i] -= step * speeds[i]
    for i in range(0, values.size, parts):
        square = values[i] * values[i]
        sums[0] += square
        sums[1] += square * square


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
