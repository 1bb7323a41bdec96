"""`project_slices` and `backproject_slices` on the cores of a CPU: taps and weights are computed where they are used.

Projection gathers, and its adjoint scatters with the same weights, plane by plane and pixel by pixel. Every thread
owns a range of rows of the output, so that every voxel is the same sum on any number of threads, and no thread needs
a volume of its own. Coordinates are in double precision.
"""

import math

import numpy as np
import torch
from torch import Tensor

from dptt.kernels.cpu.compiled import compiled
from dptt.kernels.cpu.threads import in_threads, stretches
from dptt.kernels.rotation import SlabRows


def project_slices(volume: Tensor, map_: Tensor, num_slices: int, voxel_thickness: float, rows: SlabRows) -> Tensor:
    """Return the rows `rows.target` of the slices of a tilted volume, from its rows `rows.source`."""
    slices = volume.new_zeros((num_slices, len(rows.target), volume.shape[2]))
    given, result = volume.contiguous().numpy(), slices.numpy()
    whole, numbers = np.array([volume.shape[0], rows.height, volume.shape[2]]), numbers_of(map_)
    thickness = result.real.dtype.type(voxel_thickness)

    def part(some: slice) -> None:
        bounds, scratch = (rows.target.start, some.start, some.stop), _line_of(volume)
        _project(given, rows.source.start, numbers, whole, *bounds, thickness, result, *scratch)

    in_threads(part, stretches(len(rows.target)))
    return slices


def backproject_slices(
    slices: Tensor,
    map_: Tensor,
    volume_shape: tuple[int, int, int],
    voxel_thickness: float,
    rows: SlabRows,
    into: Tensor | None = None,
) -> Tensor:
    """Return the exact adjoint of `project_slices`: the rows `rows.source` of a volume, added to `into` if given."""
    volume = slices.new_zeros((volume_shape[0], len(rows.source), volume_shape[2])) if into is None else into
    given, result = slices.contiguous().numpy(), volume.numpy()
    whole, numbers = np.array(volume_shape), numbers_of(map_)
    thickness = result.real.dtype.type(voxel_thickness)

    def part(some: slice) -> None:
        bounds, scratch = (rows.source.start, some.start, some.stop), _line_of(volume)
        _backproject(given, rows.target.start, numbers, whole, *bounds, thickness, result, *scratch)

    in_threads(part, stretches(len(rows.source)))
    return volume


def _line_of(volume: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return memory for a line of pixels, see `_locate_`: fractions along z, y and x; indices and rows."""
    width = volume.shape[2]
    return np.empty((3, width), volume.numpy().real.dtype), np.empty((2, width), np.int64)


def numbers_of(map_: Tensor) -> np.ndarray:
    """Return a sampling map (3, 4) for compiled code."""
    return map_.detach().to(torch.float64).contiguous().numpy()


@compiled
def _project(volume, first_given, map_, whole, first_row, start, stop, thickness, slices, fractions, here):
    """Write the rows `start` to `stop` of `slices`."""
    flat, row, plane_ = volume.reshape(-1), np.uint64(volume.shape[2]), np.uint64(volume.shape[1] * volume.shape[2])
    for y in range(start, stop):
        for plane in range(whole[0]):
            line = slices[plane * slices.shape[0] // whole[0], y]
            at_z, at_y, at_x = line_start(map_, whole, plane, first_row + y)
            at_y -= first_given
            first, last = inside(map_, volume.shape, at_z, at_y, at_x)
            _locate_(here, fractions, map_, volume.shape, at_z, at_y, at_x, first, last)
            for x in range(first, last):
                if here[0, x] >= 0:
                    at, fz, fy, fx = np.uint64(here[0, x]), fractions[0, x], fractions[1, x], fractions[2, x]
                    upper = between(_pair(flat, at, fx), _pair(flat, at + row, fx), fy)
                    at += plane_
                    lower = between(_pair(flat, at, fx), _pair(flat, at + row, fx), fy)
                    line[x] += between(upper, lower, fz)
                else:
                    z_, y_, x_ = at_z + map_[0, 2] * x, at_y + map_[1, 2] * x, at_x + map_[2, 2] * x
                    _gather_(line, x, volume, z_, y_, x_)
        for k in range(slices.shape[0]):
            for x in range(slices.shape[2]):
                slices[k, y, x] *= thickness


@compiled
def _backproject(slices, first_row, map_, whole, first_given, start, stop, thickness, volume, fractions, here):
    """Add to the rows `start` to `stop` of `volume`."""
    flat, row, plane_ = volume.reshape(-1), np.uint64(volume.shape[2]), np.uint64(volume.shape[1] * volume.shape[2])
    for plane in range(whole[0]):
        for y in range(slices.shape[1]):
            at_z, at_y, at_x = line_start(map_, whole, plane, first_row + y)
            at_y -= first_given
            first, last = inside(map_, volume.shape, at_z, at_y, at_x)
            ends = at_y + map_[1, 2] * first, at_y + map_[1, 2] * last
            if first >= last or max(ends) <= start - 2 or min(ends) >= stop + 1:
                continue
            line = slices[plane * slices.shape[0] // whole[0], y]
            _locate_(here, fractions, map_, volume.shape, at_z, at_y, at_x, first, last)
            for x in range(first, last):
                if here[0, x] >= 0:
                    at, fz, fy, fx = np.uint64(here[0, x]), fractions[0, x], fractions[1, x], fractions[2, x]
                    value = line[x] * thickness
                    lower = value * fz
                    upper = value - lower
                    if start <= here[1, x] < stop:
                        _add_pair_(flat, at, upper - upper * fy, fx)
                        _add_pair_(flat, at + plane_, lower - lower * fy, fx)
                    if start <= here[1, x] + 1 < stop:
                        _add_pair_(flat, at + row, upper * fy, fx)
                        _add_pair_(flat, at + row + plane_, lower * fy, fx)
                else:
                    z_, y_, x_ = at_z + map_[0, 2] * x, at_y + map_[1, 2] * x, at_x + map_[2, 2] * x
                    _scatter_(volume, start, stop, z_, y_, x_, thickness * line[x])


@compiled
def _locate_(here, fractions, map_, shape, at_z, at_y, at_x, first, last):
    """Write a pixel's fractions between its eight taps; of the first tap, index (-1 if any is missing) and row."""
    for x in range(first, last):
        z, y, x_ = at_z + map_[0, 2] * x, at_y + map_[1, 2] * x, at_x + map_[2, 2] * x
        low_z, low_y, low_x = math.floor(z), math.floor(y), math.floor(x_)
        fractions[0, x], fractions[1, x], fractions[2, x] = z - low_z, y - low_y, x_ - low_x
        i, j, k = int(low_z), int(low_y), int(low_x)
        there = (i >= 0) & (i + 1 < shape[0]) & (j >= 0) & (j + 1 < shape[1]) & (k >= 0) & (k + 1 < shape[2])
        here[0, x], here[1, x] = (i * shape[1] + j) * shape[2] + k if there else -1, j


@compiled
def line_start(map_, whole, plane, y):
    """Return the source (z, y, x) of pixel x = 0 of row `y` of a tilted plane."""
    z, y, x = plane - whole[0] // 2, y - whole[1] // 2, -(whole[2] // 2)
    return (
        map_[0, 0] * z + map_[0, 1] * y + map_[0, 2] * x + (whole[0] // 2 + map_[0, 3]),
        map_[1, 0] * z + map_[1, 1] * y + map_[1, 2] * x + (whole[1] // 2 + map_[1, 3]),
        map_[2, 0] * z + map_[2, 1] * y + map_[2, 2] * x + (whole[2] // 2 + map_[2, 3]),
    )


@compiled
def inside(map_, whole, at_z, at_y, at_x):
    """Return the first pixel of a line whose source may lie in the volume, and the pixel behind the last one."""
    low, high = 0.0, float(whole[2])
    for axis, start in enumerate((at_z, at_y, at_x)):
        step = map_[axis, 2]
        if step == 0:
            if start <= -1 or start >= whole[axis]:
                return 0, 0
        else:
            ends = (-1 - start) / step, (whole[axis] - start) / step
            low, high = max(low, min(ends)), min(high, max(ends) + 1)
    first, last = int(math.floor(max(low, 0.0))), int(math.ceil(min(high, float(whole[2]))))
    return first, max(first, last)


@compiled
def between(a, b, fraction):
    """Return the linear interpolation."""
    return a + (b - a) * fraction


@compiled
def _pair(flat, at, fraction):
    return between(flat[at], flat[at + np.uint64(1)], fraction)


@compiled
def _add_pair_(flat, at, value, fraction):
    second = value * fraction
    flat[at] += value - second
    flat[at + np.uint64(1)] += second


@compiled
def _gather_(line, pixel, volume, z, y, x):
    """Add to line[pixel] the volume at a point, interpolated trilinearly, zero outside."""
    i, j, k = int(math.floor(z)), int(math.floor(y)), int(math.floor(x))
    for a in range(max(i, 0), min(i + 2, volume.shape[0])):
        for b in range(max(j, 0), min(j + 2, volume.shape[1])):
            for c in range(max(k, 0), min(k + 2, volume.shape[2])):
                line[pixel] += (1 - abs(z - a)) * (1 - abs(y - b)) * (1 - abs(x - c)) * volume[a, b, c]


@compiled
def _scatter_(volume, start, stop, z, y, x, value):
    """Scatter a value to the voxels around a point, the adjoint of `_gather_`; only to rows `start` to `stop`."""
    i, j, k = int(math.floor(z)), int(math.floor(y)), int(math.floor(x))
    for a in range(max(i, 0), min(i + 2, volume.shape[0])):
        for b in range(max(j, start), min(j + 2, stop)):
            for c in range(max(k, 0), min(k + 2, volume.shape[2])):
                volume[a, b, c] += (1 - abs(z - a)) * (1 - abs(y - b)) * (1 - abs(x - c)) * value
