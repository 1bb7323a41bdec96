"""What compiled loops over the planes of a volume have in common: sheets, lines of places, layers in slices.

A sheet is a row of the grid of all planes, with zeros on either side of every line, so that filters need no bounds.
Complex numbers are pairs of real ones.
"""

import math

import numpy as np
import torch
from torch import Tensor

from dptt.kernels.cpu.compiled import compiled
from dptt.physics.sinc_weights import TAPS, Bands
from dptt.physics.turning import Plan

PAD = TAPS
"""Zeros on either side of a line."""


def reals(tensor: Tensor) -> np.ndarray:
    """Return the memory of a contiguous tensor as real numbers, with those of a complex one side by side."""
    assert tensor.is_contiguous()
    return (torch.view_as_real(tensor).flatten(-2) if tensor.is_complex() else tensor).numpy()


def numbers_of(shifts: tuple[Bands, Bands], parts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the first taps and the weights along both axes."""
    first, second = shifts
    weights = first.weights.T.repeat_interleave(parts, 1).contiguous().numpy()  # (tap, plane), once for every part
    return first.start.numpy(), weights, second.start.numpy(), second.weights.contiguous().numpy()


def depth_of(plan: Plan, thickness: int, dtype: np.dtype) -> tuple[np.ndarray, np.floating, np.floating]:
    """Return where voxels lie, half of the length of their layer, and the thickness of a slice [planes]."""
    depth = plan.depth.numpy()
    return depth, dtype.type(abs(depth[1]) / 2), dtype.type(thickness)


def scratch(volume: Tensor, plan: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return zeros for a sheet (plane, place), for a line of places, and for a line of voxels."""
    real, parts = volume.real.dtype, 1 + volume.is_complex()
    width = volume.shape[plan.axes[1]] + 2 * PAD
    lengths = ((plan.planes, width * parts), ((plan.grid[1] + 2 * PAD) * parts,), (volume.shape[2] * parts,))
    sheet, places, line = (torch.zeros(length, dtype=real).numpy() for length in lengths)
    return sheet, places, line


@compiled
def meeting(at, step, low, high, begin, end):
    """Return the range of places, within `begin` to `end`, whose depth at + step · place may lie within bounds."""
    if step == 0:
        return (begin, end) if low <= at <= high else (begin, begin)
    ends = (low - at) / step, (high - at) / step
    first, last = max(float(begin), math.floor(min(ends))), min(float(end), math.ceil(max(ends)) + 1)
    return (int(first), int(last)) if first < last else (begin, begin)


@compiled
def slices_between(low, high, thickness, number):
    """Return the range of slices that meet depths from `low` to `high`, at least with an edge."""
    return max(0, int(math.ceil(low / thickness)) - 1), min(number, int(math.floor(high / thickness)) + 1)


@compiled
def add_lengths(result, to, values, of, at, step, half, thickness, parts, begin, end):
    """Add values times the length of a layer in a slice, which begins at depth 0."""
    zero = half - half
    sums, given = result[parts * (to + begin) : parts * (to + end)], values[parts * (of + begin) : parts * (of + end)]
    first = at + step * begin
    if parts == 1:
        for u in range(sums.size):
            middle = result.dtype.type(first + step * u)
            sums[u] += max(min(middle + half, thickness) - max(middle - half, zero), zero) * given[u]
    else:
        for u in range(sums.size // 2):
            middle = result.dtype.type(first + step * u)
            length = max(min(middle + half, thickness) - max(middle - half, zero), zero)
            sums[2 * u] += length * given[2 * u]
            sums[2 * u + 1] += length * given[2 * u + 1]


@compiled
def filtered(result, begin, end, line, offset, step, weights):
    """Write the sums over taps t of weights[t] · line[i + offset + step · t] to result[i], eight taps at a time."""
    sums, taps = result[begin:end], weights.size
    if taps == 1:
        sums[:] = line[begin + offset : end + offset]
        return
    sums[:] = 0
    for t in range(0, taps, 8):
        at = begin + offset + step * t
        a, b, c, d = line[at:], line[at + step :], line[at + 2 * step :], line[at + 3 * step :]
        e, f, g, h = line[at + 4 * step :], line[at + 5 * step :], line[at + 6 * step :], line[at + 7 * step :]
        w = weights[t : t + 8]
        for i in range(sums.size):
            near = w[0] * a[i] + w[1] * b[i] + w[2] * c[i] + w[3] * d[i]
            far = w[4] * e[i] + w[5] * f[i] + w[6] * g[i] + w[7] * h[i]
            sums[i] += near + far


@compiled
def fill_sheet(sheet, volume, turned, start, weights, v, parts, line):
    """Write row `v` of the grid of every plane, shifted along the first axis."""
    inner = slice(parts * PAD, sheet.shape[1] - parts * PAD)
    if not turned:
        for n in range(sheet.shape[0]):
            row = sheet[n, inner]
            row[:] = 0
            for t in range(weights.shape[0]):
                j = v + start[n] + t
                if 0 <= j < volume.shape[1]:
                    add_scaled(row, weights[t, parts * n], volume[n, j])
        return
    for z in range(volume.shape[0]):
        line[:] = 0
        n = 0
        while n < sheet.shape[0]:
            stop = alike(start, n)
            some = slice(parts * n, parts * stop)
            for t in range(weights.shape[0]):
                j = v + start[n] + t
                if 0 <= j < volume.shape[1]:
                    add_products(line[some], weights[t, some], volume[z, j, some])
            n = stop
        for n in range(sheet.shape[0]):
            for part in range(parts):
                sheet[n, parts * (PAD + z) + part] = line[parts * n + part]


@compiled
def empty_sheet(sheet, volume, turned, start, weights, v, parts, line, first, last):
    """Add a sheet to the rows `first` to `last` of the volume, the adjoint of `fill_sheet`."""
    inner = slice(parts * PAD, sheet.shape[1] - parts * PAD)
    if not turned:
        for n in range(sheet.shape[0]):
            for t in range(weights.shape[0]):
                j = v + start[n] + t
                if first <= j < last:
                    add_scaled(volume[n, j], weights[t, parts * n], sheet[n, inner])
        return
    for z in range(volume.shape[0]):
        for n in range(sheet.shape[0]):
            for part in range(parts):
                line[parts * n + part] = sheet[n, parts * (PAD + z) + part]
        n = 0
        while n < sheet.shape[0]:
            stop = alike(start, n)
            some = slice(parts * n, parts * stop)
            for t in range(weights.shape[0]):
                j = v + start[n] + t
                if first <= j < last:
                    add_products(volume[z, j, some], weights[t, some], line[some])
            n = stop


@compiled
def add_scaled(sums, weight, values):
    """Add values times a weight."""
    for r in range(sums.size):
        sums[r] += weight * values[r]


@compiled
def add_products(sums, weights, values):
    """Add values, each times its weight."""
    for r in range(sums.size):
        sums[r] += weights[r] * values[r]


@compiled
def alike(start, n):
    """Return the end of the range from `n` on in which the numbers are those at `n`."""
    stop = n + 1
    while stop < start.size and start[stop] == start[n]:
        stop += 1
    return stop
