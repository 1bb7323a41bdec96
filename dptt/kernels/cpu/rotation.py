"""The steps of a turning (`physics.turned_planes`) on the cores of a CPU.

A row of the grid is computed for all planes at once, a sheet of the volume; where planes lie across x, it is stored
turned, so that every plane is contiguous. Every thread owns a range of rows of the output, so that every number is
the same sum on any number of threads. Complex numbers are pairs of real ones: a step of one voxel is one of two.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dptt.kernels.cpu.compiled import compiled
from dptt.kernels.cpu.threads import in_threads, stretches
from dptt.physics.sinc_weights import TAPS, Bands
from dptt.physics.turned_planes import Edge
from dptt.physics.turning import Plan

PAD = TAPS
"""Zeros on either side of a line."""
MODES = {None: 0, "upper": 1, "lower": 2}


def deposit(
    volume: Tensor,
    plan: Plan,
    slices: tuple[int, int],
    shifts: tuple[Bands, Bands] | None = None,
    edge: Edge | None = None,
) -> Tensor:
    """Return the sum of the shifted planes in every slice; as `turned_planes.deposit`."""
    number, thickness = slices
    images = volume.new_zeros((number, *plan.grid))
    given, result, parts = _reals(volume.contiguous()), _reals(images), 1 + volume.is_complex()
    numbers = _numbers(plan, shifts or plan.shifts, parts)

    def part(some: slice) -> None:
        bounds, scratch = (some.start, some.stop), _scratch(volume, plan)
        _deposit(
            given, *numbers, *_depth(plan, thickness, given.dtype), MODES[edge], parts, *bounds, result, *scratch
        )

    in_threads(part, stretches(plan.grid[0]))
    return images


def spread_(volume: Tensor, images: Tensor, plan: Plan, thickness: int) -> None:
    """Add the exact adjoint of `deposit` applied to `images` to the volume."""
    given, result, parts = _reals(images.resolve_conj().contiguous()), _reals(volume), 1 + volume.is_complex()
    numbers = _numbers(plan, plan.shifts, parts)

    def part(some: slice) -> None:
        bounds, scratch = (some.start, some.stop), _scratch(volume, plan)
        _spread(given, *numbers, *_depth(plan, thickness, given.dtype), parts, *bounds, result, *scratch)

    in_threads(part, stretches(volume.shape[1]))


def resampled(images: Tensor, along: tuple[Bands | None, Bands | None], second_first: bool = False) -> Tensor:
    """Return images resampled along one axis, then along the other; as `turned_planes.resampled`."""
    parts = 1 + images.is_complex()
    for axis in (1, 0) if second_first else (0, 1):
        bands = along[axis]
        if bands is None:
            continue
        shape = [*images.shape]
        shape[1 + axis] = bands.start.shape[1]
        result = images.new_zeros(shape)
        given, lines, number = _reals(images.resolve_conj().contiguous()), _reals(result), result.shape[1]
        weights = (bands.weights if axis else bands.weights.permute(1, 2, 0)).numpy()
        arguments = given, bands.start.numpy(), weights, parts, lines
        in_threads(partial(_resampled_rows, (_along_first, _along_second)[axis], arguments), stretches(number))
        images = result
    return images


def _resampled_rows(along: Callable[..., None], arguments: tuple[Any, ...], some: slice) -> None:
    *given, result = arguments
    along(*given, some.start, some.stop, result)


def _reals(tensor: Tensor) -> np.ndarray:
    """Return the memory of a contiguous tensor as real numbers, with those of a complex one side by side."""
    assert tensor.is_contiguous()
    return (torch.view_as_real(tensor).flatten(-2) if tensor.is_complex() else tensor).numpy()


def _numbers(
    plan: Plan, shifts: tuple[Bands, Bands], parts: int
) -> tuple[bool, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return whether planes lie across x, and the first taps and weights along both axes."""
    first, second = shifts
    weights = first.weights.T.repeat_interleave(parts, 1).contiguous().numpy()  # (tap, plane), once for every part
    return plan.plane == 2, first.start.numpy(), weights, second.start.numpy(), second.weights.contiguous().numpy()


def _depth(plan: Plan, thickness: int, dtype: np.dtype) -> tuple[np.ndarray, np.floating, np.floating]:
    """Return where voxels lie, half of the length of their layer, and the thickness of a slice [planes]."""
    depth = plan.depth.numpy()
    return depth, dtype.type(abs(depth[1]) / 2), dtype.type(thickness)


def _scratch(volume: Tensor, plan: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return zeros for a sheet (plane, place), for a line of places, and for a line of voxels."""
    real, parts = volume.real.dtype, 1 + volume.is_complex()
    width = volume.shape[plan.axes[1]] + 2 * PAD
    lengths = ((plan.planes, width * parts), ((plan.grid[1] + 2 * PAD) * parts,), (volume.shape[2] * parts,))
    sheet, places, line = (torch.zeros(length, dtype=real).numpy() for length in lengths)
    return sheet, places, line


@compiled
def _deposit(
    volume, turned, start1, weights1, start2, weights2, depth, half, thickness, mode, parts, first, last, images,
    sheet, cut, line,
):  # fmt: skip
    """Fill the rows `first` to `last` of the grid of `images`."""
    taps, places = weights2.shape[1], images.shape[2] // parts
    length = sheet.shape[1] // parts - 2 * PAD
    for v in range(first, last):
        _fill_sheet(sheet, volume, turned, start1, weights1, v, parts, line)
        for n in range(sheet.shape[0]):
            at = depth[0] + depth[1] * n + depth[2] * v
            begin, end = max(0, 1 - taps - start2[n]), min(places, length - start2[n])
            begin, end = meeting(at, depth[3], -half, images.shape[0] * thickness + half, begin, end)
            if begin >= end:
                continue
            low, high = parts * (PAD + begin), parts * (PAD + end)
            _filtered(cut, low, high, sheet[n], parts * start2[n], parts, weights2[n])
            ends = at + depth[3] * begin, at + depth[3] * (end - 1)
            lowest, highest = slices_between(min(ends) - half, max(ends) + half, thickness, images.shape[0])
            for k in range(lowest, highest):
                from_ = at - k * thickness
                a, b = meeting(from_, depth[3], -half, thickness + half, begin, end)
                _add_lengths(images[k, v], 0, cut, PAD, from_, depth[3], half, thickness, mode, parts, a, b)


@compiled
def _spread(
    images, turned, start1, weights1, start2, weights2, depth, half, thickness, parts, first, last, volume,
    sheet, cut, line,
):  # fmt: skip
    """Add to the rows `first` to `last` of the volume."""
    taps, places = weights2.shape[1], images.shape[2] // parts
    length, rows = sheet.shape[1] // parts - 2 * PAD, weights1.shape[0]
    reversed_ = weights2[:, ::-1].copy()
    for v in range(images.shape[1]):
        used = False
        for n in range(sheet.shape[0]):
            if v + start1[n] + rows <= first or v + start1[n] >= last:
                continue
            used = True
            sheet[n, :] = 0
            at = depth[0] + depth[1] * n + depth[2] * v
            begin, end = max(0, 1 - taps - start2[n]), min(places, length - start2[n])
            begin, end = meeting(at, depth[3], -half, images.shape[0] * thickness + half, begin, end)
            if begin >= end:
                continue
            cut[parts * begin : parts * (end + 2 * PAD)] = 0
            ends = at + depth[3] * begin, at + depth[3] * (end - 1)
            lowest, highest = slices_between(min(ends) - half, max(ends) + half, thickness, images.shape[0])
            for k in range(lowest, highest):
                from_ = at - k * thickness
                a, b = meeting(from_, depth[3], -half, thickness + half, begin, end)
                _add_lengths(cut, PAD, images[k, v], 0, from_, depth[3], half, thickness, 0, parts, a, b)
            low, high = max(0, begin + start2[n]), min(length, end - 1 + start2[n] + taps)
            _filtered(
                sheet[n],
                parts * (PAD + low),
                parts * (PAD + high),
                cut,
                -parts * (start2[n] + taps - 1),
                parts,
                reversed_[n],
            )
        if used:
            _empty_sheet(sheet, volume, turned, start1, weights1, v, parts, line, first, last)


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
def _add_lengths(result, to, values, of, at, step, half, thickness, mode, parts, begin, end):
    """Add values times the length of a layer in a slice, which begins at depth 0, or whether its edge is in it."""
    zero = half - half
    sums, given = result[parts * (to + begin) : parts * (to + end)], values[parts * (of + begin) : parts * (of + end)]
    first = at + step * begin
    if mode:
        ahead = half if mode == 1 else -half
        for u in range(end - begin):
            depth = first + step * u + ahead
            if 0 <= depth <= thickness:
                for part in range(parts):
                    value = given[parts * u + part]
                    sums[parts * u + part] += value if 0 < depth < thickness else value * result.dtype.type(0.5)
    elif parts == 1:
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
def _filtered(result, begin, end, line, offset, step, weights):
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
def _add_scaled(sums, weight, values):
    for r in range(sums.size):
        sums[r] += weight * values[r]


@compiled
def _add_products(sums, weights, values):
    for r in range(sums.size):
        sums[r] += weights[r] * values[r]


@compiled
def _fill_sheet(sheet, volume, turned, start, weights, v, parts, line):
    """Write row `v` of the grid of every plane, shifted along the first axis."""
    inner = slice(parts * PAD, sheet.shape[1] - parts * PAD)
    if not turned:
        for n in range(sheet.shape[0]):
            row = sheet[n, inner]
            row[:] = 0
            for t in range(weights.shape[0]):
                j = v + start[n] + t
                if 0 <= j < volume.shape[1]:
                    _add_scaled(row, weights[t, parts * n], volume[n, j])
        return
    for z in range(volume.shape[0]):
        line[:] = 0
        n = 0
        while n < sheet.shape[0]:
            stop = _alike(start, n)
            some = slice(parts * n, parts * stop)
            for t in range(weights.shape[0]):
                j = v + start[n] + t
                if 0 <= j < volume.shape[1]:
                    _add_products(line[some], weights[t, some], volume[z, j, some])
            n = stop
        for n in range(sheet.shape[0]):
            for part in range(parts):
                sheet[n, parts * (PAD + z) + part] = line[parts * n + part]


@compiled
def _empty_sheet(sheet, volume, turned, start, weights, v, parts, line, first, last):
    """Add a sheet to the rows `first` to `last` of the volume, the adjoint of `_fill_sheet`."""
    inner = slice(parts * PAD, sheet.shape[1] - parts * PAD)
    if not turned:
        for n in range(sheet.shape[0]):
            for t in range(weights.shape[0]):
                j = v + start[n] + t
                if first <= j < last:
                    _add_scaled(volume[n, j], weights[t, parts * n], sheet[n, inner])
        return
    for z in range(volume.shape[0]):
        for n in range(sheet.shape[0]):
            for part in range(parts):
                line[parts * n + part] = sheet[n, parts * (PAD + z) + part]
        n = 0
        while n < sheet.shape[0]:
            stop = _alike(start, n)
            some = slice(parts * n, parts * stop)
            for t in range(weights.shape[0]):
                j = v + start[n] + t
                if first <= j < last:
                    _add_products(volume[z, j, some], weights[t, some], line[some])
            n = stop


@compiled
def _alike(start, n):
    """Return the end of the range from `n` on in which the numbers are those at `n`."""
    stop = n + 1
    while stop < start.size and start[stop] == start[n]:
        stop += 1
    return stop


@compiled
def _along_second(images, start, weights, parts, first, last, result):
    """Fill the rows `first` to `last` of images resampled along their last axis."""
    places = images.shape[2] // parts
    for line in range(first, last):
        some = line if start.shape[0] > 1 else 0
        for i in range(start.shape[1]):
            at = start[some, i]
            begin, end = max(0, -at), min(weights.shape[2], places - at)
            if begin >= end:
                continue
            values = weights[some, i, begin:end]
            for k in range(images.shape[0]):
                row = images[k, line, parts * (at + begin) : parts * (at + end)]
                zero = row[0] - row[0]
                if parts == 1:
                    sum_ = zero
                    for t in range(values.size):
                        sum_ += values[t] * row[t]
                    result[k, line, i] = sum_
                else:
                    real, imaginary = zero, zero
                    for t in range(values.size):
                        real += values[t] * row[2 * t]
                        imaginary += values[t] * row[2 * t + 1]
                    result[k, line, 2 * i], result[k, line, 2 * i + 1] = real, imaginary


@compiled
def _along_first(images, start, weights, parts, first, last, result):
    """Fill the rows `first` to `last` of images resampled along their first axis; weights are (pixel, tap, line)."""
    for i in range(first, last):
        u = 0
        while u < start.shape[0]:
            stop = _alike(start[:, i], u)
            for t in range(weights.shape[1]):
                j = start[u, i] + t
                if 0 <= j < images.shape[1]:
                    for k in range(images.shape[0]):
                        if start.shape[0] == 1:
                            _add_scaled(result[k, i], weights[i, t, 0], images[k, j])
                        elif parts == 1:
                            _add_products(result[k, i, u:stop], weights[i, t, u:stop], images[k, j, u:stop])
                        else:
                            sums, values = result[k, i, 2 * u : 2 * stop], images[k, j, 2 * u : 2 * stop]
                            factors = weights[i, t, u:stop]
                            for r in range(factors.size):
                                sums[2 * r] += factors[r] * values[2 * r]
                                sums[2 * r + 1] += factors[r] * values[2 * r + 1]
            u = stop
