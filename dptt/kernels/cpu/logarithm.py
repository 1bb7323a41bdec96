"""A logarithm in single precision that compilers vectorise; the C library's is one call per pixel."""

import math
from inspect import unwrap

import numpy as np
from numba import types
from numba.extending import overload

_LOG_2 = np.float32(math.log(2))
_ZERO, _ONE, _TWO, _INFINITY, _NAN = (np.float32(x) for x in (0, 1, 2, math.inf, math.nan))
_THIRD, _FIFTH, _SEVENTH, _NINTH = (np.float32(1 / n) for n in (3, 5, 7, 9))
_SQRT_HALF, _EXPONENT_BITS, _ONE_BITS = np.int32(0x3F3504F3), np.int32(23), np.int32(0x3F800000)


def log(x: float) -> float:
    """Return the logarithm of a positive number, or NaN; in single precision to about 1e-7 of max(1, |log x|)."""
    return math.log(x)


@overload(log)
def _log(x):
    return unwrap(_single if x == types.float32 else _double)  # see `compiled`


def _double(x):
    return math.log(x)


def _single(x):
    # x = 2^n m with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s) with s = (m - 1) / (m + 1), |s| < 0.172
    exponent = np.int32((np.float32(x).view(np.int32) - _SQRT_HALF) >> _EXPONENT_BITS)
    m = x * np.int32(_ONE_BITS - (exponent << _EXPONENT_BITS)).view(np.float32)
    s = (m - _ONE) / (m + _ONE)
    q = s * s
    series = _ONE + q * (_THIRD + q * (_FIFTH + q * (_SEVENTH + q * _NINTH)))
    return np.float32(exponent) * _LOG_2 + _TWO * s * series if _ZERO < x < _INFINITY else _NAN
