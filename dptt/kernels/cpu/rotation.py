"""The steps of a turning (`physics.turned_planes`) on the cores of a CPU.

A row of the grid is computed for all planes at once, a sheet of the volume; where planes lie across x, it is stored
turned, so that every plane is contiguous. Every thread owns a range of rows of the output, so that every number is
the same sum on any number of threads. Complex numbers are pairs of real ones: a step of one voxel is one of two.
"""

from torch import Tensor

from dptt.kernels.cpu.compiled import compiled
from dptt.kernels.cpu.pose_sums import pose_sums
from dptt.kernels.cpu.resampling import resampled, shear_sums
from dptt.kernels.cpu.sheets import (
    PAD,
    add_lengths,
    depth_of,
    empty_sheet,
    fill_sheet,
    filtered,
    meeting,
    numbers_of,
    reals,
    scratch,
    slices_between,
)
from dptt.kernels.cpu.threads import in_threads, stretches
from dptt.physics.turning import Plan

__all__ = ["deposit", "pose_sums", "resampled", "shear_sums", "spread_"]


def deposit(volume: Tensor, plan: Plan, slices: tuple[int, int]) -> Tensor:
    """Return the sum of the shifted planes in every slice; as `turned_planes.deposit`."""
    number, thickness = slices
    images = volume.new_zeros((number, *plan.grid))
    given, result, parts = reals(volume.contiguous()), reals(images), 1 + volume.is_complex()
    numbers = plan.plane == 2, *numbers_of(plan.shifts, parts), *depth_of(plan, thickness, given.dtype)

    def part(some: slice) -> None:
        _deposit(given, *numbers, parts, some.start, some.stop, result, *scratch(volume, plan))

    in_threads(part, stretches(plan.grid[0]))
    return images


def spread_(volume: Tensor, images: Tensor, plan: Plan, thickness: int) -> None:
    """Add the exact adjoint of `deposit` applied to `images` to the volume."""
    given, result, parts = reals(images.resolve_conj().contiguous()), reals(volume), 1 + volume.is_complex()
    numbers = plan.plane == 2, *numbers_of(plan.shifts, parts), *depth_of(plan, thickness, given.dtype)

    def part(some: slice) -> None:
        _spread(given, *numbers, parts, some.start, some.stop, result, *scratch(volume, plan))

    in_threads(part, stretches(volume.shape[1]))


@compiled
def _deposit(
    volume, turned, start1, weights1, start2, weights2, depth, half, thickness, parts, first, last, images,
    sheet, cut, line,
):  # fmt: skip
    """Fill the rows `first` to `last` of the grid of `images`."""
    taps, places = weights2.shape[1], images.shape[2] // parts
    length = sheet.shape[1] // parts - 2 * PAD
    for v in range(first, last):
        fill_sheet(sheet, volume, turned, start1, weights1, v, parts, line)
        for n in range(sheet.shape[0]):
            at = depth[0] + depth[1] * n + depth[2] * v
            begin, end = max(0, 1 - taps - start2[n]), min(places, length - start2[n])
            begin, end = meeting(at, depth[3], -half, images.shape[0] * thickness + half, begin, end)
            if begin >= end:
                continue
            low, high = parts * (PAD + begin), parts * (PAD + end)
            filtered(cut, low, high, sheet[n], parts * start2[n], parts, weights2[n])
            ends = at + depth[3] * begin, at + depth[3] * (end - 1)
            lowest, highest = slices_between(min(ends) - half, max(ends) + half, thickness, images.shape[0])
            for k in range(lowest, highest):
                from_ = at - k * thickness
                a, b = meeting(from_, depth[3], -half, thickness + half, begin, end)
                add_lengths(images[k, v], 0, cut, PAD, from_, depth[3], half, thickness, parts, a, b)


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
                add_lengths(cut, PAD, images[k, v], 0, from_, depth[3], half, thickness, parts, a, b)
            low, high = max(0, begin + start2[n]), min(length, end - 1 + start2[n] + taps)
            filtered(
                sheet[n],
                parts * (PAD + low),
                parts * (PAD + high),
                cut,
                -parts * (start2[n] + taps - 1),
                parts,
                reversed_[n],
            )
        if used:
            empty_sheet(sheet, volume, turned, start1, weights1, v, parts, line, first, last)
