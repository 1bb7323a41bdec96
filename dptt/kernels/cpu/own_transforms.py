"""Fourier transforms in place for compiled code where PyTorch has no MKL, as on ARM: Stockham's, of any lengths.

A transform of length n = p m is m transforms of p, turned, and p transforms of m; the results are written in an order
that needs no sorting afterwards (T. G. Stockham, AFIPS 28 (1966) 229). All lines of a wave are transformed together:
the inner loop runs over neighbours in memory. Nothing is scaled. A plan is the address of a table: the size of the
wave, whether it is in single precision, and the addresses of the roots of unity and of two waves of memory.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import unwrap
from typing import Any

import numba
import numpy as np
import torch
from numba import types
from numba.extending import intrinsic

from dptt.kernels.cpu.compiled import compiled

_ENTRIES = 9


@contextmanager
def plan(shape: tuple[int, int], dtype: torch.dtype) -> Iterator[int]:
    """Yield the plan of one transform of `shape` (y, x), for one thread at a time."""
    single = dtype == torch.complex64
    kind = np.complex64 if single else np.complex128
    forward_roots = [np.exp(-2j * math.pi * np.arange(n) / n).astype(kind) for n in shape]
    roots = [*forward_roots, *(root.conj() for root in forward_roots)]
    arrays = [*roots, *(np.empty(shape, kind) for _ in range(2))]  # kept until the block ends
    table = np.array([*shape, int(single), *(array.ctypes.data for array in arrays)], np.int64)
    yield table.ctypes.data


@intrinsic
def _pointer(context, address):  # type: ignore[no-untyped-def]
    """Return an address as a pointer, which numba itself does not offer."""
    return types.voidptr(address), lambda code, builder, signature, values: builder.inttoptr(
        values[0], code.get_value_type(types.voidptr)
    )


@compiled
def _transform(plan, address, back):
    table = numba.carray(_pointer(plan), (_ENTRIES,), np.int64)
    y, x = table[0], table[1]
    roots_y, roots_x = (table[5], table[6]) if back else (table[3], table[4])
    if table[2]:
        _two_dimensional(
            numba.carray(_pointer(address), y * x, np.complex64),
            numba.carray(_pointer(table[7]), y * x, np.complex64),
            numba.carray(_pointer(table[8]), y * x, np.complex64),
            numba.carray(_pointer(roots_y), y, np.complex64),
            numba.carray(_pointer(roots_x), x, np.complex64),
            np.float32(1 if back else -1),
        )
    else:
        _two_dimensional(
            numba.carray(_pointer(address), y * x, np.complex128),
            numba.carray(_pointer(table[7]), y * x, np.complex128),
            numba.carray(_pointer(table[8]), y * x, np.complex128),
            numba.carray(_pointer(roots_y), y, np.complex128),
            numba.carray(_pointer(roots_x), x, np.complex128),
            np.float64(1 if back else -1),
        )
    return 0


@compiled
def _two_dimensional(wave, first, second, roots_y, roots_x, sign):
    """Transform `wave` (y * x) along y, then along x as the columns of its transpose."""
    y, x = roots_y.size, roots_x.size
    in_first = _along_columns(wave, first, x, roots_y, sign)
    _transpose(first if in_first else wave, second, y, x)
    in_first = _along_columns(second, first, y, roots_x, sign)
    _transpose(first if in_first else second, wave, x, y)


@compiled
def _along_columns(wave, other, columns, roots, sign):
    """Transform the columns of `wave` (n * columns); return whether the result is in `other`."""
    source, target = wave, other
    length, stride, moved = roots.size, columns, False
    while length > 1:
        radix = _radix(length)
        part, step = length // radix, roots.size // length
        for q in range(part):
            if radix == 4:
                _four(
                    source, target, q, part, stride, sign, roots[q * step], roots[2 * q * step], roots[3 * q * step]
                )
            elif radix == 2:
                _two(source, target, q, part, stride, roots[q * step])
            else:
                _any(source, target, q, part, stride, radix, roots, step)
        source, target = target, source
        moved = not moved
        length //= radix
        stride *= radix
    return moved


@compiled
def _radix(length):
    """Return the factor of `length` to take next: 4, or the smallest prime."""
    if length % 4 == 0:
        return 4
    for factor in range(2, length):
        if factor * factor > length:
            break
        if length % factor == 0:
            return factor
    return length


@compiled
def _two(source, target, q, part, stride, turn):
    a, b = source[q * stride : (q + 1) * stride], source[(q + part) * stride : (q + part + 1) * stride]
    sums, differences = target[2 * q * stride :], target[(2 * q + 1) * stride :]
    for r in range(stride):
        sums[r], differences[r] = a[r] + b[r], (a[r] - b[r]) * turn


@compiled
def _four(source, target, q, part, stride, sign, turn_1, turn_2, turn_3):
    """`sign` is -1 forward, and 1 on the way back."""
    a, b = source[q * stride : (q + 1) * stride], source[(q + part) * stride : (q + part + 1) * stride]
    c = source[(q + 2 * part) * stride : (q + 2 * part + 1) * stride]
    d = source[(q + 3 * part) * stride : (q + 3 * part + 1) * stride]
    to = target[4 * q * stride : 4 * (q + 1) * stride]
    to_0, to_1, to_2, to_3 = to[:stride], to[stride : 2 * stride], to[2 * stride : 3 * stride], to[3 * stride :]
    for r in range(stride):
        even, odd, half, difference = a[r] + c[r], b[r] + d[r], a[r] - c[r], b[r] - d[r]
        turned = complex(-sign * difference.imag, sign * difference.real)
        to_0[r], to_1[r] = even + odd, (half + turned) * turn_1
        to_2[r], to_3[r] = (even - odd) * turn_2, (half - turned) * turn_3


@compiled
def _any(source, target, q, part, stride, radix, roots, step):
    """Transform by any factor, as its definition says."""
    whole = roots.size // radix
    for j in range(radix):
        to = target[(radix * q + j) * stride : (radix * q + j + 1) * stride]
        to[:] = 0
        for k in range(radix):
            values = source[(q + k * part) * stride : (q + k * part + 1) * stride]
            factor = roots[((j * k) % radix * whole + q * j * step) % roots.size]
            for r in range(stride):
                to[r] += values[r] * factor


@compiled
def _transpose(source, target, rows, columns):
    for i in range(rows):
        for j in range(columns):
            target[j * rows + i] = source[i * columns + j]


def _c_function(function: Callable[[int, int], int]) -> Any:
    """Compile what compiled code calls by its address (under pytest every function is wrapped)."""
    return numba.cfunc(types.intp(types.intp, types.intp))(unwrap(function))


@_c_function
def forward(plan, address):  # type: ignore[no-untyped-def]
    """Transform the wave at `address` in place; return 0."""
    return _transform(plan, address, False)


@_c_function
def backward(plan, address):  # type: ignore[no-untyped-def]
    """Transform it back, not divided by the number of pixels."""
    return _transform(plan, address, True)
