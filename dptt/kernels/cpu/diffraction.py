"""`diffraction_patterns` on the cores of a CPU: one position at a time, whose waves stay in a core's cache.

Slices that are empty where the beam is cost nothing: the wave is propagated over them and the next one together.
Every pattern is computed alone, so the result does not depend on the number of threads, ranks or chunks.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dptt.kernels.cpu import transforms
from dptt.kernels.cpu.compiled import compiled
from dptt.kernels.cpu.threads import in_threads, stretches
from dptt.kernels.cpu.waves import backward_, centred_ramp_, forward_, ramp_, times_, times_window_, turn_
from dptt.kernels.diffraction import Exposures
from dptt.kernels.periodic import PeriodicImage

_AT_ONCE = 256
"""Positions in a chunk: enough for many threads, and few enough that progress is seen."""


class _Optics(NamedTuple):
    """What all positions share. Transforms are not scaled; N is the number of pixels of the window."""

    transmission: np.ndarray
    """(slice, Y, X)"""
    spectrum: np.ndarray
    """Of the probe (mode, y, x)."""
    propagators: np.ndarray
    """Over 0, 1, ... slices, divided by N (number, y, x)."""
    band: np.ndarray
    """Frequencies that these let through (y, x)."""


class _Scratch(NamedTuple):
    """Memory for one position, reused for the next."""

    waves: np.ndarray
    """(mode, y, x)"""
    ramp_y: np.ndarray
    ramp_x: np.ndarray
    turn_y: np.ndarray
    """Ramps of the exit wave, which displace its pattern (y,)."""
    turn_x: np.ndarray


def diffraction_patterns(exposures: Exposures) -> Iterator[Float[Tensor, "pos ky kx"]]:
    """Yield the expected electrons per pixel; see `kernels.diffraction.diffraction_patterns`."""
    optics = _optics(exposures)
    corners = _array(exposures.corners % torch.tensor(exposures.transmission.shape[-2:]))
    shifts = _array(exposures.shifts)
    turns = shifts[:0] if exposures.pattern_shifts is None else _array(exposures.pattern_shifts)
    empty = _array(empty_slices(exposures).T)
    for start in range(0, len(corners), _AT_ONCE):
        chunk = slice(start, start + _AT_ONCE)
        patterns = np.zeros((len(corners[chunk]), *exposures.detector_shape), optics.spectrum.real.dtype)

        def part(some: slice, chunk: slice = chunk, patterns: np.ndarray = patterns) -> None:
            scratch = _scratch(optics)
            with transforms.plan(exposures.window, torch.from_numpy(optics.spectrum).dtype) as plan:
                _patterns(
                    plan,
                    optics,
                    scratch,
                    corners[chunk][some],
                    shifts[chunk][some],
                    turns[chunk][some] if len(turns) else turns,
                    empty[chunk][some],
                    patterns[some],
                )

        in_threads(part, stretches(len(patterns)))
        yield torch.from_numpy(patterns)


def empty_slices(exposures: Exposures) -> Bool[Tensor, "slice pos"]:
    """Return where slices scatter no more than the negligible part of the beam as it is without a specimen.

    Of the electrons of a beam psi, a slice T scatters sum |psi|² |T - 1|² at most: a correlation over the scan.
    """
    image = exposures.transmission.shape[-2:]
    y, x = (exposures.corners % torch.tensor(image)).unbind(1)
    probe = exposures.probe
    limit = exposures.negligible * probe.abs().double().square().sum()
    empty = []
    for number, transmission in enumerate(exposures.transmission):
        beam = torch.fft.ifft2(torch.fft.fft2(probe) * exposures.propagator(number)) if number else probe
        intensity = beam.abs().double().square().sum(0)
        scatterer = torch.fft.rfft2((transmission - 1).abs().double().square())
        scattered = torch.fft.irfft2(scatterer * torch.fft.rfft2(intensity, s=image).conj(), s=image)
        empty.append(scattered[y, x] <= limit)
    return torch.stack(empty)


def _optics(exposures: Exposures) -> _Optics:
    probe, pixels = exposures.probe, math.prod(exposures.window)
    over_slices = [exposures.propagator(number) for number in range(1, len(exposures.transmission) + 1)]
    propagators = torch.stack([torch.ones_like(over_slices[0]), *over_slices]) / pixels
    return _Optics(
        transmission=_array(PeriodicImage(exposures.transmission, exposures.window).extended),
        spectrum=_array(torch.fft.fft2(probe)),
        propagators=_array(propagators.to(probe)),
        band=_array(exposures.band),
    )


def _scratch(optics: _Optics) -> _Scratch:
    _, height, width = optics.spectrum.shape
    dtype = optics.spectrum.dtype
    waves = torch.empty(optics.spectrum.shape, dtype=torch.from_numpy(optics.spectrum).dtype)  # aligned for MKL
    return _Scratch(waves.numpy(), *(np.empty(length, dtype) for length in (height, width, height, width)))


def _array(tensor: Tensor) -> np.ndarray:
    """Return a tensor's memory as one contiguous array."""
    return tensor.resolve_conj().contiguous().numpy()


@compiled
def _patterns(plan, optics, scratch, corners, shifts, pattern_shifts, empty, patterns):
    """Add the patterns of the positions to `patterns` (pos, ky, kx)."""
    turned = pattern_shifts.shape[0] > 0
    num_modes = scratch.waves.shape[0]
    for i in range(corners.shape[0]):
        ramp_(scratch.ramp_y, shifts[i, 0])
        ramp_(scratch.ramp_x, shifts[i, 1])
        if turned:
            centred_ramp_(scratch.turn_y, pattern_shifts[i, 0])
            centred_ramp_(scratch.turn_x, pattern_shifts[i, 1])
        limited = _far_fields_(plan, optics, scratch, corners[i, 0], corners[i, 1], empty[i], turned)
        for mode in range(num_modes):
            _detect_(patterns[i], scratch.waves[mode], optics.band, limited)


@compiled
def _far_fields_(plan, optics, scratch, top, left, empty, turned):
    """Leave in `scratch` the far fields of one position; return whether a last propagation would limit their band.

    Between slices a wave is in real space; at first, as a spectrum, it is not. `gap` counts the slices to the next.
    """
    waves = scratch.waves
    num_modes = waves.shape[0]
    for mode in range(num_modes):
        _shifted_spectrum_(waves[mode], optics.spectrum[mode], scratch.ramp_y, scratch.ramp_x)
    is_spectrum, gap = True, 0
    for k in range(empty.size):
        if not empty[k]:
            for mode in range(num_modes):
                wave = waves[mode]
                if not is_spectrum:
                    forward_(plan, wave)
                times_(wave, optics.propagators[gap])
                backward_(plan, wave)
                times_window_(wave, wave, optics.transmission[k], top, left)
            is_spectrum, gap = False, 0
        gap += 1
    if is_spectrum and not turned:
        return 0
    for mode in range(num_modes):
        if not is_spectrum:
            forward_(plan, waves[mode])
        if turned:  # displaced in between pixels: phases matter
            times_(waves[mode], optics.propagators[gap - 1])
            backward_(plan, waves[mode])
            turn_(waves[mode], scratch.turn_y, scratch.turn_x)
            forward_(plan, waves[mode])
    return not (is_spectrum or turned) and gap > 1


@compiled
def _shifted_spectrum_(wave, spectrum, ramp_y, ramp_x):
    for y in range(wave.shape[0]):
        row, source, factor = wave[y], spectrum[y], ramp_y[y]
        for x in range(row.size):
            row[x] = source[x] * (factor * ramp_x[x])


@compiled
def _detect_(pattern, far, band, limited):
    """Add |far field|²/N to a pattern, its zero angle at n//2; `limited` to the band of a last propagation."""
    height, width = far.shape
    rows, columns = pattern.shape
    scale = pattern[0, 0] * 0 + 1 / (height * width)
    for ky in range(rows):
        y = (ky - rows // 2) % height
        for kx in range(columns):
            x = (kx - columns // 2) % width
            if band[y, x] or not limited:
                value = far[y, x]
                pattern[ky, kx] += (value.real * value.real + value.imag * value.imag) * scale
