"""`pose_derivatives` on the cores of a CPU: slopes of the trilinear interpolation, computed where they are used.

Every thread owns a range of rows of the moments. The derivative with respect to the map is summed row by row in
double precision, and the rows are added in their order: the same sum on any number of threads.
"""

import math

import numpy as np
import torch
from torch import Tensor

from dptt.kernels.cpu.compiled import compiled
from dptt.kernels.cpu.rotation import between, inside, line_start, numbers_of
from dptt.kernels.cpu.threads import in_threads, stretches
from dptt.kernels.rotation import SlabRows


def pose_derivatives(
    volume: Tensor, map_: Tensor, slice_gradient: Tensor, voxel_thickness: float, rows: SlabRows
) -> tuple[Tensor, Tensor]:
    """Return dL/d(map) and the moments, of the rows `rows.target`, as `kernels.pose_derivatives` does."""
    target = rows.target
    moments = volume.new_zeros((3, 2, len(target), volume.shape[2]))
    sums = torch.zeros((len(target), 3, 4), dtype=torch.float64)
    given, residual, result = volume.contiguous().numpy(), slice_gradient.contiguous().numpy(), moments.numpy()
    whole, numbers = np.array([volume.shape[0], rows.height, volume.shape[2]]), numbers_of(map_)
    nothing = given.dtype.type(0)

    def part(some: slice) -> None:
        bounds, scratch = (target.start, some.start, some.stop), np.empty(4, result.real.dtype)
        _derivatives(
            given, rows.source.start, numbers, whole, *bounds, residual, result, sums.numpy(), scratch, nothing
        )

    in_threads(part, stretches(len(target)))
    return sums.sum(0).mul_(voxel_thickness).to(map_.dtype), moments.mul_(voxel_thickness)


@compiled
def _derivatives(volume, first_given, map_, whole, first_row, start, stop, residual, moments, sums, here, nothing):
    """Fill the rows `start` to `stop` of `moments` and `sums`."""
    for y in range(start, stop):
        y_ = first_row + y - whole[1] // 2
        for plane in range(whole[0]):
            here[3] = plane - whole[0] // 2
            line = residual[plane * residual.shape[0] // whole[0], y]
            at_z, at_y, at_x = line_start(map_, whole, plane, first_row + y)
            first, last = inside(map_, whole, at_z, at_y, at_x)
            at_y -= first_given
            for x in range(first, last):
                z, y__, x__ = at_z + map_[0, 2] * x, at_y + map_[1, 2] * x, at_x + map_[2, 2] * x
                slopes = _slopes(volume, z, y__, x__, here, nothing)
                for axis in range(3):
                    slope = slopes[axis]
                    moments[axis, 0, y, x] += slope
                    moments[axis, 1, y, x] += slope * here[3]
                    force = line[x].real * slope.real + line[x].imag * slope.imag
                    sums[y, axis, 0] += here[3] * force
                    sums[y, axis, 1] += y_ * force
                    sums[y, axis, 2] += (x - whole[2] // 2) * force
                    sums[y, axis, 3] += force


@compiled
def _slopes(volume, z, y, x, here, nothing):
    """Return d/d(z, y, x) of the volume interpolated trilinearly at a point, zero outside; writes into `here`."""
    low_z, low_y, low_x = math.floor(z), math.floor(y), math.floor(x)
    here[0], here[1], here[2] = z - low_z, y - low_y, x - low_x  # rounded to the precision of the volume
    fz, fy, fx = here[0], here[1], here[2]
    i, j, k = int(low_z), int(low_y), int(low_x)
    a = _tap(volume, i, j, k, nothing)
    b = _tap(volume, i, j, k + 1, nothing)
    c = _tap(volume, i, j + 1, k, nothing)
    d = _tap(volume, i, j + 1, k + 1, nothing)
    e = _tap(volume, i + 1, j, k, nothing)
    f = _tap(volume, i + 1, j, k + 1, nothing)
    g = _tap(volume, i + 1, j + 1, k, nothing)
    h = _tap(volume, i + 1, j + 1, k + 1, nothing)
    upper_near, upper_far = between(a, b, fx), between(c, d, fx)
    lower_near, lower_far = between(e, f, fx), between(g, h, fx)
    along_z = between(lower_near, lower_far, fy) - between(upper_near, upper_far, fy)
    along_y = between(upper_far - upper_near, lower_far - lower_near, fz)
    along_x = between(between(b - a, d - c, fy), between(f - e, h - g, fy), fz)
    return along_z, along_y, along_x


@compiled
def _tap(volume, i, j, k, nothing):
    there = (i >= 0) & (i < volume.shape[0]) & (j >= 0) & (j < volume.shape[1]) & (k >= 0) & (k < volume.shape[2])
    return volume[i, j, k] if there else nothing
