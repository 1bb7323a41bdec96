"""Loss and gradients of a batch of diffraction patterns by the analytic adjoint ([P] eq. 18-19).

Positions go through in chunks: the waves in front of every slice are kept for one chunk only, so memory is bounded
by `chunk_bytes` and not by the batch. Gradients follow torch's convention dL/dRe + i dL/dIm.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from dptt.kernels.batch import Batch, Finished, MultisliceGradient, finished_together
from dptt.kernels.periodic import PeriodicImage
from dptt.physics.probe import detector_shift, phase_ramp

CHUNK_BYTES = 1 << 22
"""Of the waves held at once: about what a core's cache holds."""


def multislice_gradient(
    batch: Batch, chunk_bytes: int | None = None, finished: Finished | None = None
) -> MultisliceGradient:
    """Return the loss of a batch and its gradients; arguments as in `kernels.dispatch.multislice_gradient`."""
    probe, shifts, propagator, window = batch.probe, batch.shifts, batch.propagator, batch.window
    num_slices = len(batch.transmission)
    image, corners = PeriodicImage(batch.transmission, window), batch.corners_within
    accumulated = torch.zeros_like(image.extended)
    illumination = accumulated.real.new_zeros(image.extended.shape[1:])
    total = illumination.new_zeros(())
    probe_spectrum = torch.fft.fft2(probe)
    probe_gradient = torch.zeros_like(probe)
    shift_gradient = torch.zeros_like(shifts)
    frequencies = [torch.fft.fftfreq(n, dtype=shifts.dtype, device=shifts.device) for n in window]

    for chunk in _chunks(batch, chunk_bytes):
        chunk_corners = corners[chunk]
        patches = image.extract(chunk_corners)
        ramp = phase_ramp(window, shifts[chunk, 0], shifts[chunk, 1])[:, None].to(probe.dtype)
        shifted_spectrum = probe_spectrum * ramp
        turn = _turn(batch, chunk)
        waves, far = _forward(torch.fft.ifft2(shifted_spectrum), patches, propagator, turn)
        electrons = batch.measured[chunk].to(illumination.dtype) * batch.measured_scale
        value, slope = batch.loss(_intensity(far).sum(1), electrons)
        total += value

        wave = torch.fft.ifft2(far.mul_(2 * slope[:, None]), norm="ortho")
        if turn is not None:
            wave *= turn.conj()
        patch_gradient = torch.empty_like(patches)
        for k in reversed(range(num_slices)):
            torch.sum(wave * waves[k].conj(), dim=1, out=patch_gradient[k])
            wave = wave * patches[k].conj()[:, None]
            if k:
                wave = torch.fft.ifft2(torch.fft.fft2(wave).mul_(propagator.conj()))
        image.accumulate(accumulated, patch_gradient, chunk_corners)
        image.accumulate(illumination[None], _intensity(waves[0]).sum(1)[None], chunk_corners)

        spectrum = torch.fft.fft2(wave)
        probe_gradient += (spectrum * ramp.conj()).sum(0)
        # d(shifted probe)/d(shift) multiplies its spectrum by -2 pi i k
        work = (spectrum.conj() * shifted_spectrum).imag.sum(1) * (2 * math.pi / (window[0] * window[1]))
        shift_gradient[chunk, 0] = (work.sum(2) * frequencies[0]).sum(1)
        shift_gradient[chunk, 1] = (work.sum(1) * frequencies[1]).sum(1)
        # otherwise the next chunk is computed while this one is still held, and needs twice the memory
        del waves, wave, far, slope, patches, patch_gradient, ramp, shifted_spectrum, spectrum, work, electrons

    gradient = MultisliceGradient(
        total,
        image.fold(accumulated),
        torch.fft.ifft2(probe_gradient),
        shift_gradient,
        image.fold(illumination[None])[0],
    )
    return finished_together(gradient, finished)


def multislice_loss(batch: Batch, chunk_bytes: int | None = None) -> Float[Tensor, ""]:
    """Return the summed loss alone, for held-out patterns; `chunk_bytes` as in `multislice_gradient`."""
    image, corners = PeriodicImage(batch.transmission, batch.window), batch.corners_within
    probe_spectrum = torch.fft.fft2(batch.probe)
    total = batch.transmission.real.new_zeros(())
    for chunk in _chunks(batch, chunk_bytes):
        ramp = phase_ramp(batch.window, batch.shifts[chunk, 0], batch.shifts[chunk, 1])[:, None]
        patches = image.extract(corners[chunk])
        wave = torch.fft.ifft2(probe_spectrum * ramp.to(batch.probe.dtype))
        far = _forward(wave, patches, batch.propagator, _turn(batch, chunk))[1]
        electrons = batch.measured[chunk].to(total.dtype) * batch.measured_scale
        total += batch.loss(_intensity(far).sum(1), electrons)[0]
        del wave, far, patches, ramp, electrons
    return total


def _turn(batch: Batch, chunk: slice) -> Tensor | None:
    """Return the factor of the exit waves of a chunk that displaces their patterns, if they are displaced."""
    if batch.pattern_shifts is None:
        return None
    along_y, along_x = batch.pattern_shifts[chunk].unbind(1)
    return detector_shift(batch.window, along_y, along_x)[:, None].to(batch.probe.dtype)


def _forward(wave: Tensor, patches: Tensor, propagator: Tensor, turn: Tensor | None) -> tuple[list[Tensor], Tensor]:
    """Return the wave in front of every slice, and the far field ([P] eq. 6-7)."""
    waves = [wave]
    for k in range(len(patches) - 1):
        waves.append(torch.fft.ifft2(torch.fft.fft2(waves[k] * patches[k][:, None]).mul_(propagator)))
    exit_wave = waves[-1] * patches[-1][:, None]
    return waves, torch.fft.fft2(exit_wave if turn is None else exit_wave * turn, norm="ortho")


def _intensity(wave: Tensor) -> Tensor:
    """Return |wave|² without the square root that `abs` takes."""
    return torch.view_as_real(wave).square().sum(-1)


def _chunks(batch: Batch, chunk_bytes: int | None) -> Iterator[slice]:
    """Cut the positions so that the waves of a chunk, kept slice by slice, fit into `chunk_bytes`."""
    num_slices, num_positions = len(batch.transmission), len(batch.corners)
    wave_bytes = batch.probe.numel() * batch.probe.element_size()
    patch_bytes = wave_bytes // len(batch.probe)
    per_position = (num_slices + 4) * wave_bytes + 2 * num_slices * patch_bytes
    length = max(1, (chunk_bytes or CHUNK_BYTES) // per_position)
    for start in range(0, num_positions, length):
        yield slice(start, min(start + length, num_positions))
