"""The passes over waves between their transforms; a program takes a block of pixels of one position.

Waves are (pos, mode, y, x). Modes are summed in registers: each pass reads and writes a wave once. Transforms are
not scaled: the caller scales probe, propagator and intensity by the number of pixels.
"""

import math

import triton.language as tl

from dptt.kernels.losses import FAR_SLOPE, FAR_VALUE, LARGEST_RATIO, POISSON
from dptt.kernels.triton.language import BLOCK, kernel, load_pair, periodic_index, store_pair

_SIZE = tl.constexpr(BLOCK)
_TWO_PI = tl.constexpr(2 * math.pi)
_POISSON_CODE = tl.constexpr(POISSON.code)
_LARGEST_RATIO = tl.constexpr(LARGEST_RATIO)
_FAR_SLOPE, _FAR_VALUE = tl.constexpr(FAR_SLOPE), tl.constexpr(FAR_VALUE)


@kernel
def _pixels(num_pixels):
    """Return the position, the pixels of its window, and which of them exist."""
    pixel = tl.program_id(1) * _SIZE + tl.arange(0, _SIZE)
    return tl.program_id(0).to(tl.int64), pixel, pixel < num_pixels


@kernel
def _frequency(index, length):
    """Return the signed whole frequency of an index of a transform."""
    return tl.where(index < (length + 1) // 2, index, index - length).to(tl.float32)


@kernel
def _ramp(shifts, position, frequency_y, frequency_x, height, width):
    """Return exp(-2 pi i k shift) as (cosine, sine)."""
    cycles = frequency_y * (tl.load(shifts + 2 * position) / height)
    cycles += frequency_x * (tl.load(shifts + 2 * position + 1) / width)
    return tl.cos(cycles * _TWO_PI), -tl.sin(cycles * _TWO_PI)


@kernel
def shifted_spectrum(waves, spectrum, shifts, num_modes, height, width):
    """Write the spectra of the shifted probe into `waves`."""
    position, pixel, valid = _pixels(height * width)
    frequency_y, frequency_x = _frequency(pixel // width, height), _frequency(pixel % width, width)
    cosine, sine = _ramp(shifts, position, frequency_y, frequency_x, height, width)
    for mode in range(num_modes):
        real, imaginary = load_pair(spectrum, mode * height * width + pixel, valid)
        place = (position * num_modes + mode) * height * width + pixel
        store_pair(waves, place, valid, real * cosine - imaginary * sine, real * sine + imaginary * cosine)


@kernel
def through_slice(exit_waves, waves, image, corners, num_modes, height, width, image_height, image_width):
    """Write the waves behind a slice: times the windows of `image`."""
    position, pixel, valid = _pixels(height * width)
    place = periodic_index(corners, position, pixel // width, pixel % width, image_height, image_width)
    c, d = load_pair(image, place, valid)
    for mode in range(num_modes):
        here = (position * num_modes + mode) * height * width + pixel
        a, b = load_pair(waves, here, valid)
        store_pair(exit_waves, here, valid, a * c - b * d, a * d + b * c)


@kernel
def turn(waves, pattern_shifts, num_modes, height, width, ADJOINT: tl.constexpr):
    """Multiply exit waves with exp(2 pi i r shift / n), r counted from n//2, or gradients with its conjugate."""
    position, pixel, valid = _pixels(height * width)
    row, column = (pixel // width - height // 2).to(tl.float32), (pixel % width - width // 2).to(tl.float32)
    cosine, sine = _ramp(pattern_shifts, position, row, column, height, width)
    sine = sine if ADJOINT else -sine
    for mode in range(num_modes):
        here = (position * num_modes + mode) * height * width + pixel
        a, b = load_pair(waves, here, valid)
        store_pair(waves, here, valid, a * cosine - b * sine, a * sine + b * cosine)


@kernel
def times_propagator(spectra, propagator, num_pixels, ADJOINT: tl.constexpr):
    """Multiply every spectrum with the propagator, or with its conjugate, in place."""
    wave, pixel, valid = _pixels(num_pixels)
    here = wave * num_pixels + pixel
    a, b = load_pair(spectra, here, valid)
    c, d = load_pair(propagator, pixel, valid)
    d = -d if ADJOINT else d
    store_pair(spectra, here, valid, a * c - b * d, a * d + b * c)


@kernel
def residual(losses, far, measured, mask, electrons, epsilon, scale, num_modes, num_pixels, LOSS: tl.constexpr):
    """Write the loss of a block, and turn the far field into scale·dL/d(far field) = 2 scale dL/dI far.

    `scale` makes |far|² an intensity; `electrons` are those of one count.
    """
    position, pixel, valid = _pixels(num_pixels)
    intensity = tl.zeros([_SIZE], tl.float32)
    for mode in range(num_modes):
        a, b = load_pair(far, (position * num_modes + mode) * num_pixels + pixel, valid)
        intensity += a * a + b * b
    counts = tl.load(measured + position * num_pixels + pixel, mask=valid, other=0).to(tl.float32)
    counted = valid & (tl.load(mask + pixel, mask=valid, other=0) != 0)
    modelled, observed = intensity * scale + epsilon, counts * electrons + epsilon
    if LOSS == _POISSON_CODE:
        difference, ratio = modelled - observed, observed / modelled
        root, beyond = tl.sqrt(ratio), ratio > _LARGEST_RATIO
        linear = tl.where(beyond, observed * (_FAR_VALUE + 2 * _FAR_SLOPE / root), difference)
        loss = linear + observed * tl.log(tl.minimum(ratio, _LARGEST_RATIO))
        slope = tl.where(beyond, _FAR_SLOPE * root, difference / modelled)
    else:
        modelled = tl.sqrt(modelled)
        difference = modelled - tl.sqrt(observed)
        loss, slope = difference * difference, difference / modelled
    slope = tl.where(counted, slope * scale, 0.0)  # not a product: masked pixels may be NaN
    tl.store(losses + position * tl.num_programs(1) + tl.program_id(1), tl.sum(tl.where(counted, loss, 0.0), 0))
    for mode in range(num_modes):
        here = (position * num_modes + mode) * num_pixels + pixel
        a, b = load_pair(far, here, valid)
        store_pair(far, here, valid, a * (2 * slope), b * (2 * slope))


@kernel
def back_through_slice(
    gradient, patches, illumination, waves, image, corners, num_modes, height, width, image_height, image_width,
    FIRST: tl.constexpr,
):  # fmt: skip
    """Replace dL/d(wave behind a slice) by that in front of it; write dL/dT of the window, summed over modes.

    In front of the first slice, also write the illumination, the sum of |wave|².
    """
    position, pixel, valid = _pixels(height * width)
    place = periodic_index(corners, position, pixel // width, pixel % width, image_height, image_width)
    c, d = load_pair(image, place, valid)
    real = tl.zeros([_SIZE], tl.float32)
    imaginary = tl.zeros([_SIZE], tl.float32)
    electrons = tl.zeros([_SIZE], tl.float32)
    for mode in range(num_modes):
        here = (position * num_modes + mode) * height * width + pixel
        a, b = load_pair(gradient, here, valid)
        u, v = load_pair(waves, here, valid)
        real += a * u + b * v
        imaginary += b * u - a * v
        electrons += u * u + v * v
        store_pair(gradient, here, valid, a * c + b * d, b * c - a * d)
    window = position * height * width + pixel
    store_pair(patches, window, valid, real, imaginary)
    if FIRST:
        tl.store(illumination + window, electrons, mask=valid)


@kernel
def unshifted_spectrum(work, spectra, spectrum, shifts, num_modes, height, width):
    """Turn the spectra of dL/d(shifted probe) into those of the probe; write a block's dL/d(shift along y, x).

    A shift multiplies the probe's spectrum by -2 pi i k: the derivative is 2 pi sum k Im(conj(gradient) · spectrum).
    """
    position, pixel, valid = _pixels(height * width)
    frequency_y, frequency_x = _frequency(pixel // width, height), _frequency(pixel % width, width)
    cosine, sine = _ramp(shifts, position, frequency_y, frequency_x, height, width)
    force = tl.zeros([_SIZE], tl.float32)
    for mode in range(num_modes):
        here = (position * num_modes + mode) * height * width + pixel
        a, b = load_pair(spectra, here, valid)
        real, imaginary = a * cosine + b * sine, b * cosine - a * sine
        u, v = load_pair(spectrum, mode * height * width + pixel, valid)
        force += real * v - imaginary * u
        store_pair(spectra, here, valid, real, imaginary)
    block = work + 2 * (position * tl.num_programs(1) + tl.program_id(1))
    tl.store(block, tl.sum(force * frequency_y, 0) * (_TWO_PI / height))
    tl.store(block + 1, tl.sum(force * frequency_x, 0) * (_TWO_PI / width))
