"""Multislice propagation and the far field ([P] eq. 3-7)."""

import math

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from dptt.physics.grid import spatial_frequencies


def fresnel_propagator(
    shape: tuple[int, int],
    sampling: tuple[float, float],
    *,
    wavelength: float,
    distance: float,
    beam_tilt: tuple[float, float] = (0.0, 0.0),
    dtype: torch.dtype = torch.complex128,
    device: torch.device | str = "cpu",
) -> Complex[Tensor, "y x"]:
    """Return P(k) = exp(-i pi lambda dz k² + 2 pi i dz k·tan(beam tilt)) in corner order ([P] eq. 4).

    Parameters
    ----------
    shape, sampling
        Window (y, x) in pixels and its pixel [Å].
    wavelength, distance
        Electron wavelength [Å] and propagation distance dz [Å]; negative propagates back.
    beam_tilt
        Tilt (y, x) of the beam [mrad]: the wave moves towards -tilt relative to the slices' frame, which follows
        the tilted beam [Kirkland 2020, eq. 6.99].
    """
    ky, kx = spatial_frequencies(shape, sampling, device=device)
    tan_y, tan_x = (math.tan(1e-3 * tilt) for tilt in beam_tilt)
    phase = -math.pi * wavelength * distance * (ky**2 + kx**2) + 2 * math.pi * distance * (ky * tan_y + kx * tan_x)
    return torch.polar(torch.ones_like(phase), phase).to(dtype)


def band_limit(shape: tuple[int, int], sampling: tuple[float, float], fraction: float = 2 / 3) -> Bool[Tensor, "y x"]:
    """Return the circular anti-aliasing mask |k| <= fraction × the smaller Nyquist frequency, corner order."""
    ky, kx = spatial_frequencies(shape, sampling)
    return torch.sqrt(ky**2 + kx**2) <= fraction * min(0.5 / d for d in sampling)


def propagate(
    wave: Complex[Tensor, "*batch y x"], propagator: Complex[Tensor, "y x"]
) -> Complex[Tensor, "*batch y x"]:
    """Apply a Fourier-space propagator to a real-space wave ([P] eq. 3)."""
    return torch.fft.ifft2(torch.fft.fft2(wave) * propagator)


def multislice(
    probe: Complex[Tensor, "*pos mode y x"],
    transmission: Complex[Tensor, "*pos slice y x"],
    propagator: Complex[Tensor, "y x"],
) -> Complex[Tensor, "*pos mode y x"]:
    """Return the exit wave behind the last slice ([P] eq. 6): transmit, and propagate between slices only.

    The propagator behind the last slice cannot change a far-field intensity and is left out.
    """
    first, *rest = transmission.unbind(dim=-3)
    wave = probe * first[..., None, :, :]
    for factor in rest:
        wave = propagate(wave, propagator) * factor[..., None, :, :]
    return wave


def far_field(exit_wave: Complex[Tensor, "*batch y x"]) -> Complex[Tensor, "*batch y x"]:
    """Return the wave on the detector, corner order; orthonormal, so electrons are conserved ([P] eq. 7)."""
    return torch.fft.fft2(exit_wave, norm="ortho")


def diffraction_intensity(exit_wave: Complex[Tensor, "*pos mode y x"]) -> Float[Tensor, "*pos y x"]:
    """Return the electrons per pixel, summed incoherently over modes ([P] eq. 10)."""
    return far_field(exit_wave).abs().square().sum(dim=-3)
