"""The probe: aperture, aberrations, mixed-state modes.

The probe is psi(r) = F⁻¹[A(k) exp(-i chi(k))], in a window centred at index n//2. Its aberrations refer to the
plane through the rotation centre. Underfocus is positive `defocus` = -C10, so a probe of defocus d [Å] is
focused after propagating by +d.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from dptt.physics.aberrations import aberration_phase
from dptt.physics.grid import centred_coordinates, spatial_frequencies


def aperture(
    ky: Float[Tensor, "y 1"], kx: Float[Tensor, "1 x"], wavelength: float, semiangle: float, soft: bool = True
) -> Float[Tensor, "y x"]:
    """Return the aperture function A(k) of `semiangle` [mrad]; a soft edge is one frequency pixel wide."""
    alpha = wavelength * torch.sqrt(ky**2 + kx**2)
    edge = semiangle * 1e-3
    if not soft:
        return (alpha <= edge).to(alpha.dtype)
    # Width of a pixel measured along k, so that anisotropic windows get an edge of one pixel everywhere.
    step_y = wavelength * (ky[1, 0] - ky[0, 0]).abs() if len(ky) > 1 else alpha.new_zeros(())
    step_x = wavelength * (kx[0, 1] - kx[0, 0]).abs() if kx.shape[1] > 1 else alpha.new_zeros(())
    squared = (ky**2 + kx**2).clamp_min(torch.finfo(alpha.dtype).tiny)
    width = torch.sqrt((ky**2 * step_y**2 + kx**2 * step_x**2) / squared)
    return ((edge - alpha) / width.clamp_min(torch.finfo(alpha.dtype).tiny) + 0.5).clamp(0, 1)


def make_probe(
    shape: tuple[int, int],
    sampling: tuple[float, float],
    *,
    wavelength: float,
    semiangle: float,
    aberrations: Mapping[str, float] | None = None,
    electrons: float = 1.0,
    soft_aperture: bool = True,
    dtype: torch.dtype = torch.complex128,
) -> Complex[Tensor, "y x"]:
    """Return psi = F⁻¹[A exp(-i chi)], centred at index n//2, with sum |psi|² = `electrons`.

    Parameters
    ----------
    shape
        Window (y, x) in pixels.
    sampling
        Pixel (y, x) [Å].
    wavelength, semiangle
        Electron wavelength [Å] and convergence semi-angle [mrad].
    aberrations
        See `aberration_phase`.
    """
    ky, kx = spatial_frequencies(shape, sampling)
    amplitude = aperture(ky, kx, wavelength, semiangle, soft_aperture)
    if amplitude.sum() == 0:
        raise ValueError(f"an aperture of {semiangle} mrad is empty on a window of {shape} pixels of {sampling} Å")
    wave = torch.polar(amplitude, -aberration_phase(ky, kx, wavelength, aberrations or {}))
    wave = torch.fft.fftshift(torch.fft.ifft2(wave))
    return (wave * math.sqrt(electrons / wave.abs().square().sum().item())).to(dtype)


def probe_from_pattern(
    pattern: Float[Tensor, "y x"],
    sampling: tuple[float, float],
    *,
    wavelength: float,
    semiangle: float,
    aberrations: Mapping[str, float] | None = None,
    dtype: torch.dtype = torch.complex128,
) -> Complex[Tensor, "y x"]:
    """Return the probe whose bright disk is that of the mean `pattern` ([P] Algorithm 1, initialisation).

    The amplitude is the square root of the mean pattern (corner order, electrons) within `semiangle` [mrad] and one
    pixel beyond, so that the aperture's true edge and centre are kept; the phase is that of the aberrations. The
    probe has all electrons of the pattern.

    Raises
    ------
    ValueError
        No electron of the pattern is within that angle.
    """
    ky, kx = spatial_frequencies((pattern.shape[0], pattern.shape[1]), sampling, dtype=pattern.dtype)
    pixel = 1e3 * wavelength * max(abs(ky[1, 0].item()), abs(kx[0, 1].item()))
    disk = pattern.clamp_min(0).sqrt() * aperture(ky, kx, wavelength, semiangle + 1.5 * pixel, soft=False)
    wave = torch.polar(disk, -aberration_phase(ky, kx, wavelength, aberrations or {}))
    wave = torch.fft.fftshift(torch.fft.ifft2(wave))
    inside = wave.abs().square().sum().item()
    if inside == 0:
        raise ValueError(f"the pattern has no electrons within {semiangle} mrad; expected the bright disk")
    return (wave * math.sqrt(pattern.sum().item() / inside)).to(dtype)


def shift_probe(
    probe: Complex[Tensor, "*batch y x"], shift_y: Float[Tensor, "*n"], shift_x: Float[Tensor, "*n"]
) -> Complex[Tensor, "..."]:
    """Shift a probe by sub-pixel amounts [pixels] with a Fourier phase ramp ([P], below eq. 9)."""
    return torch.fft.ifft2(torch.fft.fft2(probe) * phase_ramp(probe.shape[-2:], shift_y, shift_x).to(probe.dtype))


def resample_probe(probe: Complex[Tensor, "mode y x"], window_shape: tuple[int, int]) -> Complex[Tensor, "mode v u"]:
    """Return a probe on a finer or coarser grid of the same window: its spectrum padded or cropped."""
    spectrum = torch.fft.fftshift(
        torch.fft.fft2(torch.fft.ifftshift(probe, dim=(-2, -1)), norm="ortho"), dim=(-2, -1)
    )
    for dim, length in zip((-2, -1), window_shape, strict=True):
        before = length // 2 - spectrum.shape[dim] // 2
        if before < 0:
            spectrum = spectrum.narrow(dim, -before, length)
        elif length > spectrum.shape[dim]:
            pad = [before, length - spectrum.shape[dim] - before]
            spectrum = torch.nn.functional.pad(spectrum, pad if dim == -1 else [0, 0, *pad])
    wave = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1)), norm="ortho")
    return torch.fft.fftshift(wave, dim=(-2, -1))


def phase_ramp(
    shape: tuple[int, int] | torch.Size, shift_y: Float[Tensor, "*n"], shift_x: Float[Tensor, "*n"]
) -> Complex[Tensor, "*n y x"]:
    """Return exp(-2 pi i (ky sy + kx sx)) for shifts in pixels; an even window's Nyquist row is kept as is."""
    real = shift_y.dtype
    ky = torch.fft.fftfreq(shape[0], dtype=real, device=shift_y.device)
    kx = torch.fft.fftfreq(shape[1], dtype=real, device=shift_y.device)
    phase_y = -2 * math.pi * ky * shift_y[..., None]
    phase_x = -2 * math.pi * kx * shift_x[..., None]
    ramp_y = torch.complex(torch.cos(phase_y), torch.sin(phase_y))
    ramp_x = torch.complex(torch.cos(phase_x), torch.sin(phase_x))
    return ramp_y[..., :, None] * ramp_x[..., None, :]


def detector_shift(
    shape: tuple[int, int] | torch.Size, shift_y: Float[Tensor, "*n"], shift_x: Float[Tensor, "*n"]
) -> Complex[Tensor, "*n y x"]:
    """Return the factor of an exit wave by which its pattern moves by (y, x) [detector pixels]: exp(+2 pi i d r/n).

    r counts the pixels of the window from n//2.
    """
    return torch.fft.fftshift(phase_ramp(shape, -shift_y, -shift_x), dim=(-2, -1))


def hermite_modes(
    probe: Complex[Tensor, "y x"], num_modes: int, power_of_first: float = 0.9
) -> Complex[Tensor, "mode y x"]:
    """Return mixed-state modes: the probe times Hermite polynomials of the coordinates, orthogonalised.

    A start for partially coherent probes [Thibault & Menzel 2013; [P] eq. 10]: the first mode has the fraction
    `power_of_first` of the electrons, and the others share the rest equally.
    """
    intensity = probe.abs().square()
    total = intensity.sum()
    coordinates = []
    for dim in range(2):
        axis = centred_coordinates(probe.shape[dim], 1.0, intensity.dtype, probe.device)
        marginal = intensity.sum(1 - dim)
        centre = (axis * marginal).sum() / total
        spread = ((axis - centre) ** 2 * marginal).sum().div(total).sqrt().clamp_min(1e-6)
        coordinates.append((axis - centre) / spread)
    y, x = coordinates[0][:, None], coordinates[1][None, :]
    orders = sorted(((i, j) for i in range(num_modes) for j in range(num_modes)), key=lambda o: (sum(o), o))
    modes: list[Tensor] = []
    for i, j in orders[:num_modes]:
        mode = probe * _hermite(i, y) * _hermite(j, x)
        for earlier in modes:  # Gram-Schmidt keeps the first mode proportional to `probe`
            mode = mode - earlier * torch.vdot(earlier.flatten(), mode.flatten())
        modes.append(mode / torch.linalg.vector_norm(mode))
    share = torch.full((num_modes,), (1 - power_of_first) / max(num_modes - 1, 1), dtype=intensity.dtype)
    share[0] = power_of_first if num_modes > 1 else 1.0
    weights = torch.sqrt(share.to(probe.device) * total).to(probe.dtype)
    return torch.stack(modes) * weights[:, None, None]


def orthogonalise_modes(modes: Complex[Tensor, "mode y x"]) -> Complex[Tensor, "mode y x"]:
    """Return orthogonal modes of the same density matrix, strongest first: every intensity is unchanged."""
    flat = modes.flatten(1)
    _, vectors = torch.linalg.eigh(flat.conj() @ flat.T)
    return (vectors.T.flip(0) @ flat).reshape(modes.shape)


def _hermite(order: int, x: Tensor) -> Tensor:
    """Physicists' Hermite polynomial H_n(x) by its recurrence."""
    previous, current = torch.zeros_like(x), torch.ones_like(x)
    for n in range(order):
        previous, current = current, 2 * x * current - 2 * n * previous
    return current
