"""`multislice_gradient` and `multislice_loss` on a GPU: one pass over memory between two transforms.

Positions go through in chunks, whose waves in front of every slice are kept. Of the patterns only a chunk is turned
into electrons, in the pass that compares them; they may lie in the memory of the host.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dptt.kernels.batch import Batch, Finished, MultisliceGradient
from dptt.kernels.losses import PixelLoss, is_spread, loss_code, valid_pixels
from dptt.kernels.triton import waves as passes
from dptt.kernels.triton.language import blocks, on_device_of, pairs_of
from dptt.kernels.triton.windows import accumulate_

CHUNK_BYTES = 1 << 30
"""Memory of the waves held at once [bytes]."""


def multislice_gradient(
    batch: Batch, chunk_bytes: int | None = None, finished: Finished | None = None
) -> MultisliceGradient:
    """Return the loss of a batch and its gradients; in the last chunk, `finished` is called slice by slice."""
    model = _model(batch)
    modes, window = batch.probe.shape[0], batch.window
    transmission = torch.zeros_like(model.transmission)
    illumination = torch.zeros_like(model.transmission[0].real)
    spectrum = torch.zeros_like(model.spectrum)
    shifts = torch.zeros_like(model.shifts)
    total = shifts.new_zeros((), dtype=torch.float64)
    finished = finished or _ignore
    with on_device_of(transmission):
        if not len(batch.corners):
            finished(slice(len(transmission)), transmission)
        for chunk in _chunks(batch, chunk_bytes or CHUNK_BYTES):
            fronts, gradient, loss = _forward(model, chunk)
            total += loss
            gradient = _back(gradient)
            _turn(model, chunk, gradient, adjoint=True)
            patches = gradient.new_empty((1, len(gradient), *window))
            illuminated = gradient.real.new_empty((1, len(gradient), *window))
            for k in reversed(range(len(fronts))):
                passes.back_through_slice[model.grid(gradient)](
                    pairs_of(gradient),
                    pairs_of(patches),
                    illuminated,
                    pairs_of(fronts.pop()),
                    pairs_of(model.transmission[k]),
                    model.corners[chunk],
                    modes,
                    *window,
                    *model.transmission.shape[1:],
                    FIRST=k == 0,
                )
                accumulate_(transmission[k : k + 1], patches, model.corners[chunk])
                if chunk.stop == len(batch.corners):
                    finished(slice(k, k + 1), transmission[k : k + 1])
                if k:
                    gradient = _propagated(model, gradient, adjoint=True)
            accumulate_(illumination[None], illuminated, model.corners[chunk])
            gradient = torch.fft.fft2(gradient)
            work = shifts.new_empty((*model.grid(gradient), 2))
            passes.unshifted_spectrum[model.grid(gradient)](
                work, pairs_of(gradient), pairs_of(model.spectrum), model.shifts[chunk], modes, *window
            )
            spectrum += gradient.sum(0)
            shifts[chunk] = work.sum(1)
            del (
                gradient,
                patches,
                illuminated,
                work,
            )  # otherwise the next chunk is computed while this one is still held
    return MultisliceGradient(total.float(), transmission, torch.fft.ifft2(spectrum), shifts, illumination)


def multislice_loss(batch: Batch, chunk_bytes: int | None = None) -> Tensor:
    """Return the summed loss alone."""
    model = _model(batch)
    total = model.shifts.new_zeros((), dtype=torch.float64)
    with on_device_of(model.transmission):
        for chunk in _chunks(batch, chunk_bytes or CHUNK_BYTES):
            total += _forward(model, chunk, keep=False)[2]
    return total.float()


def _ignore(slices: slice, gradient: Tensor) -> None:
    """Do nothing with finished slices."""


@dataclass(frozen=True)
class _Model:
    """What all positions share, scaled because the transforms are not."""

    transmission: Tensor
    spectrum: Tensor
    """Of the probe, divided by the number of pixels."""
    propagator: Tensor
    """Divided by the number of pixels."""
    mask: Tensor
    corners: Tensor
    """Within the image."""
    shifts: Tensor
    pattern_shifts: Tensor | None
    measured: Tensor
    loss: PixelLoss
    electrons: float
    """Of one count."""

    def grid(self, waves: Tensor) -> tuple[int, int]:
        """Return the programs for waves of some positions: (positions, blocks of pixels)."""
        return len(waves), blocks(self.propagator.numel())


def _model(batch: Batch) -> _Model:
    pixels = batch.propagator.numel()
    loss, device = batch.loss, batch.transmission.device
    assert isinstance(loss, PixelLoss)  # `kernels.dispatch` passes no other
    return _Model(
        transmission=batch.transmission.resolve_conj().contiguous(),
        spectrum=torch.fft.fft2(batch.probe).div_(pixels),
        propagator=(batch.propagator / pixels).resolve_conj().contiguous(),
        mask=valid_pixels(loss, batch.window).to(device, torch.int8).contiguous(),
        corners=batch.corners_within.to(torch.int32).contiguous(),
        shifts=batch.shifts.contiguous(),
        pattern_shifts=None if batch.pattern_shifts is None else batch.pattern_shifts.contiguous(),
        measured=batch.measured.contiguous(),
        loss=loss,
        electrons=batch.measured_scale,
    )


def _forward(model: _Model, chunk: slice, keep: bool = True) -> tuple[list[Tensor], Tensor, Tensor]:
    """Return the waves in front of every slice, dL/d(far field), and the loss."""
    corners = model.corners[chunk]
    modes, window = model.spectrum.shape[0], tuple(model.spectrum.shape[1:])
    wave = model.spectrum.new_empty((len(corners), modes, *window))
    grid = model.grid(wave)
    passes.shifted_spectrum[grid](pairs_of(wave), pairs_of(model.spectrum), model.shifts[chunk], modes, *window)
    wave = _back(wave)
    fronts = []
    for k, image in enumerate(model.transmission):
        fronts.append(wave)
        exit_wave = torch.empty_like(wave) if keep else wave
        passes.through_slice[grid](
            pairs_of(exit_wave), pairs_of(wave), pairs_of(image), corners, modes, *window, *image.shape
        )
        last = k == len(model.transmission) - 1
        if last:
            _turn(model, chunk, exit_wave)
        wave = torch.fft.fft2(exit_wave) if last else _propagated(model, exit_wave)
        if not keep:
            fronts.clear()
    measured = model.measured[chunk].to(wave.device, non_blocking=True)
    if is_spread(model.loss):
        return fronts, wave, _compare_spread(model, wave, measured)
    losses = model.shifts.new_empty(grid)
    passes.residual[grid](
        losses,
        pairs_of(wave),
        measured,
        model.mask,
        float(model.electrons),
        float(model.loss.epsilon),
        1 / model.propagator.numel(),
        modes,
        model.propagator.numel(),
        LOSS=loss_code(model.loss),
    )
    return fronts, wave, losses.sum(dtype=torch.float64)


def _compare_spread(model: _Model, far: Tensor, measured: Tensor) -> Tensor:
    """Do as `residual` for a detector with a point spread, whose pixels need their neighbours; return the loss."""
    scale = 1 / model.propagator.numel()
    intensity = torch.view_as_real(far).square().sum((1, -1)) * scale
    loss, slope = model.loss(intensity, measured.to(intensity.dtype) * model.electrons)
    far *= (2 * scale * slope)[:, None]
    return loss.double()


def _turn(model: _Model, chunk: slice, waves: Tensor, adjoint: bool = False) -> None:
    """Displace the patterns of exit waves, or take gradients back to before that, in place; no pass if none is."""
    if model.pattern_shifts is not None:
        modes, *window = waves.shape[1:]
        passes.turn[model.grid(waves)](pairs_of(waves), model.pattern_shifts[chunk], modes, *window, ADJOINT=adjoint)


def _propagated(model: _Model, waves: Tensor, adjoint: bool = False) -> Tensor:
    """Return waves at the next slice, or gradients at the previous slice."""
    spectra = torch.fft.fft2(waves)
    pixels = model.propagator.numel()
    passes.times_propagator[len(spectra) * spectra.shape[1], blocks(pixels)](
        pairs_of(spectra), pairs_of(model.propagator), pixels, ADJOINT=adjoint
    )
    return _back(spectra)


def _back(spectra: Tensor) -> Tensor:
    """Return the inverse transform, not scaled."""
    return torch.fft.ifft2(spectra, norm="forward")


def _chunks(batch: Batch, chunk_bytes: int) -> Iterator[slice]:
    """Cut the positions so that their waves, kept slice by slice, and the windows of gradients fit."""
    num_slices, num_modes, pixels = len(batch.transmission), len(batch.probe), batch.propagator.numel()
    per_position = 8 * pixels * ((num_slices + 4) * num_modes + 2)
    length = max(1, chunk_bytes // per_position)
    for start in range(0, len(batch.corners), length):
        yield slice(start, min(start + length, len(batch.corners)))
