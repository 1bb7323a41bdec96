"""The inner loops of multislice: every wave of one position stays in the cache from the probe to its gradient.

Each function is one pass over memory, row by row: a loop over one row of every array is what compilers vectorise.
Windows lie within their image, which is extended for that (`kernels.periodic`). Transforms are not scaled: the
caller scales.
"""

import math

import numpy as np

from dptt.kernels.cpu.compiled import compiled
from dptt.kernels.cpu.logarithm import log
from dptt.kernels.cpu.transforms import backward, forward
from dptt.kernels.losses import FAR_SLOPE, FAR_VALUE, LARGEST_RATIO, POISSON

_POISSON_CODE = POISSON.code
_LARGEST_RATIO, _FAR_SLOPE, _FAR_VALUE = np.float32(LARGEST_RATIO), np.float32(FAR_SLOPE), np.float32(FAR_VALUE)


@compiled
def forward_(plan, wave):
    """Transform a wave in place."""
    if forward(plan, wave.ctypes.data) != 0:
        raise RuntimeError("MKL could not transform a wave")


@compiled
def backward_(plan, wave):
    """Apply the inverse transform to a wave in place, not divided by the number of pixels."""
    if backward(plan, wave.ctypes.data) != 0:
        raise RuntimeError("MKL could not transform a wave")


@compiled
def times_(wave, factors):
    """Multiply a wave or spectrum by `factors` of its shape."""
    for y in range(wave.shape[0]):
        row, factor = wave[y], factors[y]
        for x in range(row.size):
            row[x] *= factor[x]


@compiled
def propagate_(plan, wave, propagator):
    """Propagate a wave to the next slice; `propagator` is divided by the number of pixels."""
    forward_(plan, wave)
    times_(wave, propagator)
    backward_(plan, wave)


@compiled
def propagate_back_(plan, wave, propagator):
    """Propagate a gradient to the previous slice: the adjoint of `propagate_`."""
    forward_(plan, wave)
    for y in range(wave.shape[0]):
        row, factor = wave[y], propagator[y]
        for x in range(row.size):
            row[x] *= np.conj(factor[x])
    backward_(plan, wave)


@compiled
def ramp_(ramp, shift):
    """Write exp(-2 pi i k shift) for the frequencies k of a transform, by powers: no sine or cosine per pixel."""
    step = complex(math.cos(2 * math.pi * shift / ramp.size), -math.sin(2 * math.pi * shift / ramp.size))
    value = complex(1.0, 0.0)
    for k in range(ramp.size // 2 + 1):
        if k < ramp.size - k:
            ramp[k] = value
        if k > 0:  # if the number is even, the middle frequency is negative
            ramp[ramp.size - k] = value.conjugate()
        value *= step


@compiled
def shifted_probe_(plan, wave, spectrum, ramp_y, ramp_x):
    """Write the shifted probe into `wave`; `spectrum` is divided by the number of pixels."""
    for y in range(wave.shape[0]):
        row, source, factor = wave[y], spectrum[y], ramp_y[y]
        for x in range(row.size):
            row[x] = source[x] * (factor * ramp_x[x])
    backward_(plan, wave)


@compiled
def times_window_(exit_wave, wave, image, top, left):
    """Write into `exit_wave` the wave behind a slice: times the window of `image` at (top, left)."""
    for y in range(wave.shape[0]):
        product, row, factor = exit_wave[y], wave[y], image[top + y, left:]
        for x in range(product.size):
            product[x] = row[x] * factor[x]


@compiled
def centred_ramp_(ramp, shift):
    """Write exp(2 pi i r shift / n) for the pixels r of a window of n, counted from n//2."""
    step = complex(math.cos(2 * math.pi * shift / ramp.size), math.sin(2 * math.pi * shift / ramp.size))
    value, middle = complex(1.0, 0.0), ramp.size // 2
    for r in range(middle + 1):
        if middle + r < ramp.size:
            ramp[middle + r] = value
        ramp[middle - r] = value.conjugate()
        value *= step


@compiled
def turn_(wave, ramp_y, ramp_x):
    """Multiply a wave with the ramps along y and x."""
    for y in range(wave.shape[0]):
        row, factor = wave[y], ramp_y[y]
        for x in range(row.size):
            row[x] *= factor * ramp_x[x]


@compiled
def turn_back_(wave, ramp_y, ramp_x):
    """Multiply a gradient with the conjugate ramps: the adjoint of `turn_`."""
    for y in range(wave.shape[0]):
        row, factor = wave[y], ramp_y[y]
        for x in range(row.size):
            row[x] *= np.conj(factor * ramp_x[x])


@compiled
def back_through_slice_(gradient, wave, image, image_gradient, top, left):
    """Add dL/dT of one mode to `image_gradient`, and replace dL/d(wave behind the slice) by that in front of it."""
    for y in range(wave.shape[0]):
        back, row, factor, sum_ = gradient[y], wave[y], image[top + y, left:], image_gradient[top + y, left:]
        for x in range(back.size):
            sum_[x] += back[x] * np.conj(row[x])
            back[x] *= np.conj(factor[x])


@compiled
def add_intensity_(illumination, wave, top, left):
    """Add |wave|² to the window of a real image."""
    for y in range(wave.shape[0]):
        sum_, row = illumination[top + y, left:], wave[y]
        for x in range(row.size):
            sum_[x] += row[x].real * row[x].real + row[x].imag * row[x].imag


@compiled
def misfit_(slope, far, measured, mask, loss_code, epsilon, scale, spread, other):
    """Return the loss of one pattern, and write scale·dL/dI into `slope`.

    `far` are the modes of the far field; `scale` = 1/(number of pixels) makes |far|² an intensity; `loss_code` is
    that of `kernels.losses`; `spread` are the weights of the detector's point spread, `other` memory like `slope`.
    """
    slope[:] = 0
    for mode in range(far.shape[0]):
        add_intensity_(slope, far[mode], 0, 0)
    if spread.size > 1:
        spread_(slope, other, spread)
    loss = 0.0
    for y in range(slope.shape[0]):
        if loss_code == _POISSON_CODE:
            loss += _poisson_(slope[y], measured[y], mask[y], epsilon, scale)
        else:
            loss += _amplitude_(slope[y], measured[y], mask[y], epsilon, scale)
    if spread.size > 1:
        spread_(slope, other, spread)
    return loss


@compiled
def spread_(pattern, other, weights):
    """Spread a pattern over neighbouring pixels along y and x, in place; `other` is memory of its shape."""
    height, width = pattern.shape
    for y in range(height):
        row, source = other[y], pattern[y]
        for x in range(width):
            row[x] = weights[0] * source[x]
        for n in range(1, weights.size):
            before, after, weight = pattern[(y - n) % height], pattern[(y + n) % height], weights[n]
            for x in range(width):
                row[x] += weight * (before[x] + after[x])
    reach = min(weights.size - 1, width)
    for y in range(height):
        row, source = pattern[y], other[y]
        for x in range(width):
            row[x] = weights[0] * source[x]
        for n in range(1, weights.size):
            weight = weights[n]
            for x in range(reach, width - reach):
                row[x] += weight * (source[x - n] + source[x + n])
            for x in range(reach):
                row[x] += weight * (source[(x - n) % width] + source[(x + n) % width])
            for x in range(max(reach, width - reach), width):
                row[x] += weight * (source[(x - n) % width] + source[(x + n) % width])


@compiled
def _amplitude_(row, measured, mask, epsilon, scale):
    zero = epsilon - epsilon
    loss = zero
    for x in range(row.size):
        modelled, observed = math.sqrt(row[x] * scale + epsilon), math.sqrt(measured[x] + epsilon)
        difference = modelled - observed
        loss += difference * difference if mask[x] else zero
        row[x] = difference / modelled * scale if mask[x] else zero
    return loss


@compiled
def _poisson_(row, measured, mask, epsilon, scale):
    zero = epsilon - epsilon
    loss = zero
    for x in range(row.size):
        modelled, observed = row[x] * scale + epsilon, measured[x] + epsilon
        difference, ratio = modelled - observed, observed / modelled
        root, beyond = math.sqrt(ratio), ratio > _LARGEST_RATIO
        linear = observed * (_FAR_VALUE + (_FAR_SLOPE + _FAR_SLOPE) / root) if beyond else difference
        slope = _FAR_SLOPE * root if beyond else difference / modelled
        loss += linear + observed * log(_LARGEST_RATIO if beyond else ratio) if mask[x] else zero
        row[x] = slope * scale if mask[x] else zero
    return loss


@compiled
def times_slope_(far, slope):
    """Replace the far field by dL/d(far field) = 2 dL/dI far."""
    for mode in range(far.shape[0]):
        for y in range(slope.shape[0]):
            row, factor = far[mode, y], slope[y]
            for x in range(row.size):
                twice = factor[x] + factor[x]
                row[x] = complex(row[x].real * twice, row[x].imag * twice)


@compiled
def probe_gradient_(gradient, wave_spectrum, spectrum, ramp_y, ramp_x, frequency_y, frequency_x):
    """Add one mode's dL/d(probe spectrum) to `gradient`; return its dL/d(shift along y, along x).

    `wave_spectrum` is the transform of dL/d(shifted probe); a shift multiplies the spectrum by -2 pi i k, so that its
    derivative is 2 pi sum k Im(conj(wave_spectrum) · shifted spectrum).
    """
    along_y = along_x = 0.0
    for y in range(gradient.shape[0]):
        row, source, other, factor = gradient[y], wave_spectrum[y], spectrum[y], ramp_y[y]
        work_y = work_x = frequency_x[0] * 0
        for x in range(row.size):
            moved = source[x] * np.conj(factor * ramp_x[x])
            row[x] += moved
            work = moved.real * other[x].imag - moved.imag * other[x].real
            work_y += work
            work_x += work * frequency_x[x]
        along_y += work_y * frequency_y[y]
        along_x += work_x
    return 2 * math.pi * along_y, 2 * math.pi * along_x
