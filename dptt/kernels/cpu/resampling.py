"""Resampling along an axis on the cores of a CPU, with weights computed where they are used: no tables are kept."""

from math import ceil, cos, floor, pi, sin
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dptt.kernels.cpu.compiled import compiled
from dptt.kernels.cpu.sheets import add_products, add_scaled, alike, reals
from dptt.kernels.cpu.threads import in_threads, stretches
from dptt.physics.sinc_weights import AREA, HALF, SERIES, Resampling
from dptt.physics.turning import Plan

NEAR = 0.01
"""Distance [samples] below which sinc is its series."""
_POWERS = tuple(SERIES)


def resampled(images: Tensor, plan: Plan, axes: tuple[int, ...] = (0, 1), adjoint: bool = False) -> Tensor:
    """Return images resampled along one axis, then along the other; as `turned_planes.resampled`."""
    parts = 1 + images.is_complex()
    for axis in reversed(axes) if adjoint else axes:
        along = plan.along[axis]
        if along is None:
            continue
        shape = [*images.shape]
        shape[1 + axis] = len(along.inputs if adjoint else along.outputs)
        result = images.new_zeros(shape)
        given, filled = reals(images.resolve_conj().contiguous()), reals(result)
        loop, numbers = (_along_second if axis else _along_first), _numbers(along, adjoint)

        def part(
            some: slice, loop: Any = loop, given: Any = given, numbers: Any = numbers, filled: Any = filled
        ) -> None:
            loop(given, numbers, parts, some.start, some.stop, filled)

        in_threads(part, stretches(shape[1]))
        images = result
    return images


def shear_sums(given: Tensor, wanted: Tensor, along: Resampling) -> Tensor:
    """Return the derivatives by the slope and the skew; as `turned_planes.shear_sums`."""
    values, pull = reals(given.resolve_conj().contiguous()), reals(wanted.resolve_conj().contiguous())
    parts, numbers = 1 + given.is_complex(), _numbers(along, adjoint=False)
    sums = np.zeros((given.shape[1], 2))

    def part(some: slice) -> None:
        _shear_sums(values, pull, numbers, parts, some.start, some.stop, sums)

    in_threads(part, stretches(len(sums)))
    return torch.from_numpy(sums.sum(0))


def _numbers(along: Resampling, adjoint: bool) -> np.ndarray:
    """Return slope, skew, the first line, output and input, and whether it is the adjoint."""
    starts = (one.start for one in (along.lines, along.outputs, along.inputs))
    return np.array([float(along.slope), float(along.skew), *starts, adjoint])


@compiled
def _taps(numbers):
    """Return the largest number of taps."""
    rate = abs(numbers[0])
    return int(ceil(2 * HALF * max(1.0, rate) / (rate if numbers[5] else 1.0)))


@compiled
def _sinc(distance, sine):
    """Return sinc of a distance with this sine of pi · distance, which is rounded: near 0 a series is more exact."""
    if abs(distance) > NEAR:
        return sine / (pi * distance)
    square = (pi * distance) ** 2
    return 1 - square / 6 * (1 - square / 20 * (1 - square / 42))


@compiled
def _slope_of_sinc(distance, cosine, sinc):
    """Return the derivative of sinc by the distance, likewise."""
    if abs(distance) > NEAR:
        return (cosine - sinc) / distance
    square = (pi * distance) ** 2
    return -(pi**2) * distance / 3 * (1 - square / 10 * (1 - square / 28))


@compiled
def _fill(weights, numbers, line, index):
    """Write the weights of a place or, in the adjoint, of a sample, and return the first number they belong to."""
    slope, skew, adjoint = numbers[0], numbers[1] * (numbers[2] + line), numbers[5]
    stretch = max(1.0, abs(slope))
    reach = HALF * stretch
    if adjoint:
        sample = numbers[4] + index
        first = floor((sample - skew) / slope - reach / abs(slope)) + 1
        at, step, origin = (sample - slope * first - skew) / stretch, -slope / stretch, numbers[3]
    else:
        middle = slope * (numbers[3] + index) + skew
        first = floor(middle - reach) + 1
        at, step, origin = (first - middle) / stretch, 1 / stretch, numbers[4]
    sine, cosine, sine_1, cosine_1 = (
        sin(pi * at),
        cos(pi * at),
        sin(pi * step),
        cos(pi * step),
    )
    for t in range(weights.size):
        distance = at + step * t
        y = 1 - (distance / HALF) ** 2
        window = _POWERS[7]
        for power in range(6, -1, -1):
            window = window * y + _POWERS[power]
        weights[t] = _sinc(distance, sine) * window / (AREA * stretch) if y > 0 else 0.0
        sine, cosine = sine * cosine_1 + cosine * sine_1, cosine * cosine_1 - sine * sine_1
    return int(first - origin)


@compiled
def _along_second(images, numbers, parts, first, last, result):
    """Fill the rows `first` to `last` of images resampled along their last axis."""
    places, outputs = images.shape[2] // parts, result.shape[2] // parts
    start, weights = np.zeros(outputs, np.int64), np.zeros((outputs, _taps(numbers)), result.dtype)
    for line in range(first, last):
        if line == first or numbers[1] != 0:
            for i in range(outputs):
                start[i] = _fill(weights[i], numbers, line, i)
        for i in range(outputs):
            at = start[i]
            begin, end = max(0, -at), min(weights.shape[1], places - at)
            if begin >= end:
                continue
            values = weights[i, begin:end]
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
def _along_first(images, numbers, parts, first, last, result):
    """Fill the rows `first` to `last` of images resampled along their first axis."""
    lines = 1 if numbers[1] == 0 else images.shape[2] // parts
    start, weights = np.zeros(lines, np.int64), np.zeros((_taps(numbers), lines), result.dtype)
    for i in range(first, last):
        for u in range(lines):
            start[u] = _fill(weights[:, u], numbers, u, i)
        u = 0
        while u < lines:
            stop = alike(start, u)
            for t in range(weights.shape[0]):
                j = start[u] + t
                if 0 <= j < images.shape[1]:
                    for k in range(images.shape[0]):
                        if lines == 1:
                            add_scaled(result[k, i], weights[t, 0], images[k, j])
                        elif parts == 1:
                            add_products(result[k, i, u:stop], weights[t, u:stop], images[k, j, u:stop])
                        else:
                            sums, values = result[k, i, 2 * u : 2 * stop], images[k, j, 2 * u : 2 * stop]
                            factors = weights[t, u:stop]
                            for r in range(factors.size):
                                sums[2 * r] += factors[r] * values[2 * r]
                                sums[2 * r + 1] += factors[r] * values[2 * r + 1]
            u = stop


@compiled
def _shear_sums(given, wanted, numbers, parts, first, last, sums):
    """Fill the rows `first` to `last` of derivatives by slope and skew, of lines along the last axis."""
    places, outputs, slope = given.shape[2] // parts, wanted.shape[2] // parts, numbers[0]
    taps, stretch = _taps(numbers), max(1.0, abs(slope))
    work, reach = np.zeros(taps), HALF * stretch
    grows = np.sign(slope) if abs(slope) >= 1 else 0.0
    sine_1, cosine_1 = sin(pi / stretch), cos(pi / stretch)
    for line in range(first, last):
        for i in range(outputs):
            output = numbers[3] + i
            middle = slope * output + numbers[1] * (numbers[2] + line)
            origin = floor(middle - reach) + 1
            start = int(origin - numbers[4])
            begin, end = max(0, -start), min(taps, places - start)
            if begin >= end:
                continue
            work[begin:end] = 0
            for k in range(given.shape[0]):
                row = given[k, line, parts * (start + begin) : parts * (start + end)]
                for part in range(parts):
                    pull = wanted[k, line, parts * i + part]
                    for t in range(end - begin):
                        work[begin + t] += pull * row[parts * t + part]
            at = (origin + begin - middle) / stretch
            sine, cosine = sin(pi * at), cos(pi * at)
            by_place, by_stretch = 0.0, 0.0
            for t in range(begin, end):
                distance = (origin + t - middle) / stretch
                y = 1 - (distance / HALF) ** 2
                window, slope_of_window = _POWERS[7], 0.0
                for power in range(6, -1, -1):
                    slope_of_window = slope_of_window * y + window
                    window = window * y + _POWERS[power]
                slope_of_window *= -2 * distance / HALF**2
                sinc = _sinc(distance, sine)
                slope_of_sinc = _slope_of_sinc(distance, cosine, sinc)
                value = sinc * window if y > 0 else 0.0
                rate = slope_of_sinc * window + sinc * slope_of_window if y > 0 else 0.0
                by_place += work[t] * rate
                by_stretch += work[t] * (value + distance * rate)
                sine, cosine = sine * cosine_1 + cosine * sine_1, cosine * cosine_1 - sine * sine_1
            sums[line, 0] -= (output * by_place + grows * by_stretch) / (AREA * stretch**2)
            sums[line, 1] -= (numbers[2] + line) * by_place / (AREA * stretch**2)
