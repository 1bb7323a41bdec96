"""The sums of `kernels.pose_sums` on the cores of a CPU, in one pass over the volume."""

import numpy as np
import torch
from torch import Tensor

from dptt.kernels.cpu.compiled import compiled
from dptt.kernels.cpu.sheets import (
    PAD,
    add_lengths,
    depth_of,
    fill_sheet,
    filtered,
    meeting,
    numbers_of,
    reals,
    scratch,
    slices_between,
)
from dptt.kernels.cpu.threads import in_threads, stretches
from dptt.kernels.pose_sums import PoseSums
from dptt.physics.sinc_weights import Bands
from dptt.physics.turning import Plan


def pose_sums(volume: Tensor, plan: Plan, force: Tensor, thickness: int, slopes: tuple[Bands, Bands]) -> PoseSums:
    """Return the sums; as `kernels.pose_sums.pose_sums`."""
    images, moved = torch.zeros_like(force), force.new_zeros((2, 2, *plan.grid))
    sums = np.zeros((5, plan.grid[0], plan.planes))
    given, pull, parts = reals(volume.contiguous()), reals(force.resolve_conj().contiguous()), 1 + volume.is_complex()
    weights = [Bands(start, slope.to(volume.real)) for start, slope in slopes]
    shifts = *numbers_of(plan.shifts, parts), *numbers_of((weights[0], weights[1]), parts)
    depth, results = depth_of(plan, thickness, given.dtype), (reals(images), reals(moved), sums)

    def part(some: slice) -> None:
        first, second = scratch(volume, plan), scratch(volume, plan)
        lines = np.zeros((4, len(first[1])), dtype=given.dtype)
        sheets = first[0], second[0], lines, first[2]
        _pose_sums(given, pull, plan.plane == 2, *shifts, *depth, parts, some.start, some.stop, *results, *sheets)

    in_threads(part, stretches(plan.grid[0]))
    return PoseSums.of(images, moved, torch.from_numpy(sums))


@compiled
def _pose_sums(
    volume, force, turned, start1, weights1, start2, weights2, begin1, slopes1, begin2, slopes2, depth, half,
    thickness, parts, first, last, images, moved, sums, sheet, slope_sheet, lines, line,
):  # fmt: skip
    """Fill the rows `first` to `last` of the grid of all results."""
    taps, places = slopes2.shape[1], images.shape[2] // parts
    length, number = sheet.shape[1] // parts - 2 * PAD, images.shape[0]
    cut, by_first, by_second, pull = lines[0], lines[1], lines[2], lines[3]
    for v in range(first, last):
        fill_sheet(sheet, volume, turned, start1, weights1, v, parts, line)
        fill_sheet(slope_sheet, volume, turned, begin1, slopes1, v, parts, line)
        for n in range(sheet.shape[0]):
            at = depth[0] + depth[1] * n + depth[2] * v
            begin, end = max(0, 1 - taps - begin2[n]), min(places, length - begin2[n])
            begin, end = meeting(at, depth[3], -half, number * thickness + half, begin, end)
            if begin >= end:
                continue
            low, high = parts * (PAD + begin), parts * (PAD + end)
            filtered(cut, low, high, sheet[n], parts * start2[n], parts, weights2[n])
            filtered(by_first, low, high, slope_sheet[n], parts * start2[n], parts, weights2[n])
            filtered(by_second, low, high, sheet[n], parts * begin2[n], parts, slopes2[n])
            pull[low:high] = 0
            ends = at + depth[3] * begin, at + depth[3] * (end - 1)
            lowest, highest = slices_between(min(ends) - half, max(ends) + half, thickness, number)
            for k in range(lowest, highest):
                from_ = at - k * thickness
                a, b = meeting(from_, depth[3], -half, thickness + half, begin, end)
                add_lengths(images[k, v], 0, cut, PAD, from_, depth[3], half, thickness, parts, a, b)
                add_lengths(pull, PAD, force[k, v], 0, from_, depth[3], half, thickness, parts, a, b)
                for end_ in (1, -1):
                    a, b = meeting(from_ + end_ * half, depth[3], 0.0, thickness, begin, end)
                    edge = _at_edge(cut, force[k, v], from_ + end_ * half, depth[3], thickness, parts, a, b)
                    sums[2, v, n] += end_ * edge[0]
                    sums[3, v, n] += end_ * edge[1]
                    sums[4, v, n] += edge[0] / 2
            sums[0, v, n] = _product(pull[low:high], by_first[low:high])
            sums[1, v, n] = _product(pull[low:high], by_second[low:high])
            depths = at, depth[3], half, number * thickness
            _add_moved(moved[:, :, v], by_first, by_second, n, depths, parts, begin, end)


@compiled
def _add_moved(sums, by_first, by_second, n, depths, parts, begin, end):
    """Add slopes times the length of a layer within the volume to the first lines, and n times that to the second."""
    at, step, half, whole = depths
    zero, factor = half - half, sums.dtype.type(n)
    for u in range(begin, end):
        middle = sums.dtype.type(at + step * u)
        length = max(min(middle + half, whole) - max(middle - half, zero), zero)
        for i in range(parts * u, parts * (u + 1)):
            first, second = length * by_first[parts * PAD + i], length * by_second[parts * PAD + i]
            sums[0, 0, i] += first
            sums[0, 1, i] += factor * first
            sums[1, 0, i] += second
            sums[1, 1, i] += factor * second


@compiled
def _at_edge(cut, force, at, step, thickness, parts, begin, end):
    """Return the product of force and values where an edge lies in a slice that begins at 0, and that times place."""
    sum_, by_place = 0.0, 0.0
    for u in range(begin, end):
        depth = at + step * u
        if 0 <= depth <= thickness:
            value = force[parts * u] * cut[parts * (PAD + u)]
            if parts == 2:
                value += force[2 * u + 1] * cut[2 * (PAD + u) + 1]
            value = value if 0 < depth < thickness else value / 2  # half of an edge between two slices is in either
            sum_ += value
            by_place += u * value
    return sum_, by_place


@compiled
def _product(one, other):
    sum_ = one.dtype.type(0)
    for i in range(one.size):
        sum_ += one[i] * other[i]
    return sum_
