"""Loss and gradients of a batch of diffraction patterns by the analytic adjoint ([P] eq. 18-19).

Positions go through in chunks: the waves in front of every slice are kept for one chunk only, so memory is bounded
by `chunk_bytes` and not by the batch. Gradients follow torch's convention dL/dRe + i dL/dIm.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int, Shaped
from torch import Tensor

from dptt.kernels.periodic import PeriodicImage
from dptt.physics.probe import phase_ramp

Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(model intensity, measured intensity) [electrons] -> (summed loss, dL/dI)."""


@dataclass(frozen=True)
class MultisliceGradient:
    """Sums over the positions of a batch; what a rank adds to the others' before an update."""

    loss: Float[Tensor, ""]
    transmission: Complex[Tensor, "slice Y X"]
    probe: Complex[Tensor, "mode y x"]
    shifts: Float[Tensor, "pos 2"]
    """dL/d(position) [1/pixel], one row a position."""
    illumination: Float[Tensor, "Y X"]
    """Electrons that fell on each pixel: sum over positions and modes of |probe|²."""


def multislice_gradient(
    transmission: Complex[Tensor, "slice Y X"],
    probe: Complex[Tensor, "mode y x"],
    corners: Int[Tensor, "pos 2"],
    shifts: Float[Tensor, "pos 2"],
    measured: Shaped[Tensor, "pos y x"],
    propagator: Complex[Tensor, "y x"],
    loss: Loss,
    *,
    measured_scale: float = 1.0,
    chunk_bytes: int = 1 << 22,
) -> MultisliceGradient:
    """Return the loss of a batch and its gradients with respect to slices, probe and positions.

    Parameters
    ----------
    transmission
        exp(i sigma V) of every slice, on the image grid.
    probe
        Modes, window centred at n//2, sum |probe|² = electrons per pattern.
    corners, shifts
        Window corners [pixels] and sub-pixel remainders [pixels], see `physics.patches.split_positions`.
    measured
        Patterns in corner order, in the detector's own type; `measured_scale` turns counts into electrons.
    propagator
        Between slices, corner order.
    loss
        Returns the summed loss and dL/dI, for instance `model.losses.amplitude_loss`.
    chunk_bytes
        Bound on the memory of the waves held at once [bytes].
    """
    window = (probe.shape[-2], probe.shape[-1])
    num_slices = len(transmission)
    image = PeriodicImage(transmission, window)
    accumulated = torch.zeros_like(image.extended)
    illumination = accumulated.real.new_zeros(image.extended.shape[1:])
    total = illumination.new_zeros(())
    probe_spectrum = torch.fft.fft2(probe)
    probe_gradient = torch.zeros_like(probe)
    shift_gradient = torch.zeros_like(shifts)
    frequencies = [torch.fft.fftfreq(n, dtype=shifts.dtype, device=shifts.device) for n in window]

    for chunk in _chunks(len(corners), num_slices, probe, chunk_bytes):
        here = image.wrap(corners[chunk])
        patches = image.extract(here)
        ramp = phase_ramp(window, shifts[chunk, 0], shifts[chunk, 1])[:, None].to(probe.dtype)
        shifted_spectrum = probe_spectrum * ramp
        waves, far = _forward(torch.fft.ifft2(shifted_spectrum), patches, propagator)
        value, slope = loss(_intensity(far).sum(1), measured[chunk].to(illumination.dtype) * measured_scale)
        total += value

        wave = torch.fft.ifft2(far.mul_(2 * slope[:, None]), norm="ortho")
        patch_gradient = torch.empty_like(patches)
        for k in reversed(range(num_slices)):
            torch.sum(wave * waves[k].conj(), dim=1, out=patch_gradient[k])
            wave = wave * patches[k].conj()[:, None]
            if k:
                wave = torch.fft.ifft2(torch.fft.fft2(wave).mul_(propagator.conj()))
        image.accumulate(accumulated, patch_gradient, here)
        image.accumulate(illumination[None], _intensity(waves[0]).sum(1)[None], here)

        spectrum = torch.fft.fft2(wave)
        probe_gradient += (spectrum * ramp.conj()).sum(0)
        # d(shifted probe)/d(shift) multiplies its spectrum by -2 pi i k
        work = (spectrum.conj() * shifted_spectrum).imag.sum(1) * (2 * math.pi / (window[0] * window[1]))
        shift_gradient[chunk, 0] = (work.sum(2) * frequencies[0]).sum(1)
        shift_gradient[chunk, 1] = (work.sum(1) * frequencies[1]).sum(1)
        # or the next chunk would be computed beside this one, and the bound on memory be doubled
        del waves, wave, far, slope, patches, patch_gradient, ramp, shifted_spectrum, spectrum, work

    return MultisliceGradient(
        total,
        image.fold(accumulated),
        torch.fft.ifft2(probe_gradient),
        shift_gradient,
        image.fold(illumination[None])[0],
    )


def multislice_loss(
    transmission: Complex[Tensor, "slice Y X"],
    probe: Complex[Tensor, "mode y x"],
    corners: Int[Tensor, "pos 2"],
    shifts: Float[Tensor, "pos 2"],
    measured: Shaped[Tensor, "pos y x"],
    propagator: Complex[Tensor, "y x"],
    loss: Loss,
    *,
    measured_scale: float = 1.0,
    chunk_bytes: int = 1 << 22,
) -> Float[Tensor, ""]:
    """Return the summed loss alone, for patterns that no update sees; arguments as in `multislice_gradient`."""
    window = (probe.shape[-2], probe.shape[-1])
    image = PeriodicImage(transmission, window)
    probe_spectrum = torch.fft.fft2(probe)
    total = transmission.real.new_zeros(())
    for chunk in _chunks(len(corners), len(transmission), probe, chunk_bytes):
        ramp = phase_ramp(window, shifts[chunk, 0], shifts[chunk, 1])[:, None].to(probe.dtype)
        patches = image.extract(image.wrap(corners[chunk]))
        far = _forward(torch.fft.ifft2(probe_spectrum * ramp), patches, propagator)[1]
        total += loss(_intensity(far).sum(1), measured[chunk].to(total.dtype) * measured_scale)[0]
        del far, patches, ramp
    return total


def _forward(wave: Tensor, patches: Tensor, propagator: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return the wave in front of every slice, and the far field ([P] eq. 6-7)."""
    waves = [wave]
    for k in range(len(patches) - 1):
        waves.append(torch.fft.ifft2(torch.fft.fft2(waves[k] * patches[k][:, None]).mul_(propagator)))
    return waves, torch.fft.fft2(waves[-1] * patches[-1][:, None], norm="ortho")


def _intensity(wave: Tensor) -> Tensor:
    """Return |wave|² without the square root that `abs` takes."""
    return torch.view_as_real(wave).square().sum(-1)


def _chunks(num_positions: int, num_slices: int, probe: Tensor, chunk_bytes: int) -> Iterator[slice]:
    """Cut the positions so that the waves of a chunk, kept slice by slice, fit into `chunk_bytes`."""
    wave_bytes = probe.numel() * probe.element_size()
    patch_bytes = wave_bytes // len(probe)
    per_position = (num_slices + 4) * wave_bytes + 2 * num_slices * patch_bytes
    length = max(1, chunk_bytes // per_position)
    for start in range(0, num_positions, length):
        yield slice(start, min(start + length, num_positions))
