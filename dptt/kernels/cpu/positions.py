"""Loss and gradients of scan positions, one after the other, by the analytic adjoint ([P] eq. 18-19).

Of one position are held the waves in front of every slice and the far field, (slices + 1) · modes windows: they stay
in a core's cache while its transforms run.
"""

from typing import NamedTuple

import numpy as np

from dptt.kernels.cpu.compiled import compiled
from dptt.kernels.cpu.waves import (
    add_intensity_,
    back_through_slice_,
    backward_,
    centred_ramp_,
    forward_,
    misfit_,
    probe_gradient_,
    propagate_,
    propagate_back_,
    ramp_,
    shifted_probe_,
    times_slope_,
    times_window_,
    turn_,
    turn_back_,
)


class Model(NamedTuple):
    """What all positions share. Transforms are not scaled; N is the number of pixels of the window."""

    transmission: np.ndarray
    """(slice, Y, X)"""
    spectrum: np.ndarray
    """Of the probe, divided by N (mode, y, x)."""
    propagator: np.ndarray
    """Divided by N (y, x)."""
    mask: np.ndarray
    """Valid pixels of the detector (y, x)."""
    loss_code: int
    """Of the loss, see `kernels.losses`."""
    epsilon: np.floating
    """Floor of the intensities [electrons per pixel]."""
    scale: np.floating
    """1/N, which makes |far field|² an intensity."""
    spread: np.ndarray
    """Weights of the detector's point spread (tap,)."""


class Scratch(NamedTuple):
    """Memory for one position, reused for the next."""

    waves: np.ndarray
    """In front of every slice, and the far field (slice + 1, mode, y, x)."""
    slope: np.ndarray
    """Intensity, then dL/dI (y, x)."""
    spread: np.ndarray
    """Of the passes of a point spread (y, x)."""
    ramp_y: np.ndarray
    ramp_x: np.ndarray
    turn_y: np.ndarray
    """Ramps of the exit wave, which displace its pattern (y,)."""
    turn_x: np.ndarray


class Gradients(NamedTuple):
    """Sums of the gradients of all positions."""

    transmission: np.ndarray
    illumination: np.ndarray
    spectrum: np.ndarray
    """Of the probe's spectrum (mode, y, x)."""
    frequency_y: np.ndarray
    """[1/pixel] (y,)"""
    frequency_x: np.ndarray


@compiled
def loss_of_positions(plan, model, scratch, corners, shifts, pattern_shifts, measured):
    """Return the summed loss of the positions; `pattern_shifts` is empty (0, 2) if no pattern is displaced."""
    turned = pattern_shifts.shape[0] > 0
    loss = 0.0
    for i in range(corners.shape[0]):
        if turned:
            centred_ramp_(scratch.turn_y, pattern_shifts[i, 0])
            centred_ramp_(scratch.turn_x, pattern_shifts[i, 1])
        loss += _forward_(plan, model, scratch, corners[i, 0], corners[i, 1], shifts[i], turned, measured[i])
    return loss


@compiled
def gradient_of_positions(plan, model, scratch, corners, shifts, pattern_shifts, measured, gradients, shift_gradient):
    """Return the summed loss of the positions, add their gradients, and write those of the shifts (pos, 2)."""
    turned = pattern_shifts.shape[0] > 0
    loss = 0.0
    for i in range(corners.shape[0]):
        if turned:
            centred_ramp_(scratch.turn_y, pattern_shifts[i, 0])
            centred_ramp_(scratch.turn_x, pattern_shifts[i, 1])
        loss += _forward_(plan, model, scratch, corners[i, 0], corners[i, 1], shifts[i], turned, measured[i])
        shift_gradient[i, 0], shift_gradient[i, 1] = _backward_(
            plan, model, scratch, corners[i, 0], corners[i, 1], turned, gradients
        )
    return loss


@compiled
def _forward_(plan, model, scratch, top, left, shift, turned, measured):
    """Fill `scratch` with the waves, the far field and the slope of one position; return its loss."""
    waves = scratch.waves
    num_slices, num_modes = waves.shape[0] - 1, waves.shape[1]
    ramp_(scratch.ramp_y, shift[0])
    ramp_(scratch.ramp_x, shift[1])
    for mode in range(num_modes):
        shifted_probe_(plan, waves[0, mode], model.spectrum[mode], scratch.ramp_y, scratch.ramp_x)
    for k in range(num_slices):
        for mode in range(num_modes):
            wave = waves[k + 1, mode]
            times_window_(wave, waves[k, mode], model.transmission[k], top, left)
            if k < num_slices - 1:
                propagate_(plan, wave, model.propagator)
            else:
                if turned:
                    turn_(wave, scratch.turn_y, scratch.turn_x)
                forward_(plan, wave)
    far = waves[num_slices]
    return misfit_(
        scratch.slope,
        far,
        measured,
        model.mask,
        model.loss_code,
        model.epsilon,
        model.scale,
        model.spread,
        scratch.spread,
    )


@compiled
def _backward_(plan, model, scratch, top, left, turned, gradients):
    """Add the gradients of one position, and return dL/d(shift along y, along x)."""
    waves = scratch.waves
    num_slices, num_modes = waves.shape[0] - 1, waves.shape[1]
    gradient = waves[num_slices]
    times_slope_(gradient, scratch.slope)
    for mode in range(num_modes):
        backward_(plan, gradient[mode])
        if turned:
            turn_back_(gradient[mode], scratch.turn_y, scratch.turn_x)
        add_intensity_(gradients.illumination, waves[0, mode], top, left)
    for k in range(num_slices - 1, -1, -1):
        for mode in range(num_modes):
            back_through_slice_(
                gradient[mode], waves[k, mode], model.transmission[k], gradients.transmission[k], top, left
            )
            if k > 0:
                propagate_back_(plan, gradient[mode], model.propagator)
    along_y = along_x = 0.0
    for mode in range(num_modes):
        forward_(plan, gradient[mode])
        work_y, work_x = probe_gradient_(
            gradients.spectrum[mode],
            gradient[mode],
            model.spectrum[mode],
            scratch.ramp_y,
            scratch.ramp_x,
            gradients.frequency_y,
            gradients.frequency_x,
        )
        along_y += work_y
        along_x += work_x
    return along_y, along_x
