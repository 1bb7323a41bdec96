"""Single-sideband, weak-phase and parallax images: one sum over the bright disk with three weightings.

For a weak phase object phi the Fourier transform of the patterns along the scan is ([P], step (a); Rodenburg 1993)

    G(Q, k) = delta(Q) I(k) + i phi(Q) Gamma(Q, k),   Gamma = a*(k) a(k - Q) - a(k) a*(k + Q),   a = A exp(-i chi),

and phi(Q) is estimated by a matched filter, -i sum_k w G conj(K) / sum_k w |K|². With K = Gamma this is the
weak-phase image, the best linear one at shot noise. K = Gamma/|Gamma| where exactly one of the two sidebands lies
in the aperture, else 0, is the single-sideband image. K = exp(i grad chi(k).Q/2 pi) shifts the virtual images back
and adds them up: parallax, or tilt-corrected bright field. Parallax does not correct the contrast transfer, which
remains in the image.

A scan of step s samples frequencies up to 1/2s only; G is periodic beyond. Gamma is not, so the sum over k separates
the aliases, and the image can be finer than the scan (`upsampling`).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from dptt.physics.aberrations import cartesian_phase, order_of, shift_basis
from dptt.solvers.brightfield.data import BrightFieldData

Method = Literal["single-sideband", "weak-phase", "parallax"]
REGULARISATION = 0.03
"""Fraction of the mean transfer sum |K|² that is added to it, to suppress frequencies that are hardly transferred."""
BLOCK = 1 << 18
"""Frequencies times pixels held at once."""


@dataclass(frozen=True)
class Sidebands:
    """Scanned patterns after the Fourier transform along the scan.

    Parameters
    ----------
    spectrum
        G relative to each pixel's mean intensity; (frequency, pixel).
    frequencies
        q [1/Å] in raster axes (y, x), (frequency, 2).
    """

    spectrum: Complex[Tensor, "freq pixel"]
    frequencies: Float[Tensor, "freq 2"]


def sidebands(data: BrightFieldData) -> Sidebands:
    """Return G at all frequencies of the scan."""
    _, frequencies, _ = refined_grid(data, 1)
    return Sidebands(torch.fft.fft2(data.tapered_images()).flatten(1).T, frequencies)


def refined_grid(
    data: BrightFieldData, upsampling: int
) -> tuple[Int[Tensor, " freq"], Float[Tensor, "freq 2"], tuple[int, int]]:
    """Return each frequency's alias, the frequencies [1/Å] of a scan refined by `upsampling`, and the shape."""
    rows, columns = (signed_index(n * upsampling) for n in data.scan_shape)
    alias = (rows[:, None] % data.scan_shape[0]) * data.scan_shape[1] + columns[None, :] % data.scan_shape[1]
    qy, qx = (index / (n * d) for index, n, d in zip((rows, columns), data.scan_shape, data.step, strict=True))
    grid = torch.stack(torch.meshgrid(qy, qx, indexing="ij"), dim=-1).to(torch.float64)
    return alias.flatten(), grid.reshape(-1, 2), (len(rows), len(columns))


def scan_frequencies(data: BrightFieldData) -> tuple[Float[Tensor, "y 1"], Float[Tensor, "1 x"]]:
    """Return the frequencies (qy, qx) [1/Å] of the scan along its own axes, in FFT order."""
    qy, qx = (signed_index(n).to(torch.float64) / (n * d) for n, d in zip(data.scan_shape, data.step, strict=True))
    return qy[:, None], qx[None, :]


def signed_index(n: int) -> Tensor:
    """Return the integer frequencies of `n` samples, in FFT order."""
    return torch.cat([torch.arange((n + 1) // 2), torch.arange(-(n // 2), 0)])


def select(bands: Sidebands, mask: Bool[Tensor, " freq"]) -> Sidebands:
    """Return the frequencies in the `mask`."""
    return Sidebands(bands.spectrum[mask], bands.frequencies[mask])


def kernel(
    method: Method,
    data: BrightFieldData,
    reciprocal: Float[Tensor, "freq 2"],
    coefficients: Float[Tensor, " term"],
) -> Complex[Tensor, "freq pixel"]:
    """Return K(Q, k) at the frequencies Q [1/Å] in the detector's frame; differentiable in Q and the aberrations."""
    k = data.angles * 1e-3
    if method == "parallax":
        shift = shift_basis(k, order_of(coefficients)) @ coefficients
        phase = 2 * torch.pi * reciprocal @ shift.T
        return torch.complex(torch.cos(phase), torch.sin(phase))
    q = (data.wavelength * reciprocal)[:, None, :]
    chi = cartesian_phase(k, data.wavelength, coefficients)
    sides = []
    for sign in (-1.0, 1.0):
        moved = k + sign * q
        radius = torch.linalg.vector_norm(moved.detach(), dim=-1)
        edge = ((data.semiangle * 1e-3 - radius) / data.pixel_angle + 0.5).clamp(0, 1)
        difference = -sign * (chi - cartesian_phase(moved, data.wavelength, coefficients))
        sides.append((edge, difference))
    (left, phase_left), (right, phase_right) = sides
    if method == "single-sideband":
        single = (left > 0.5) ^ (right > 0.5)
        left, right = (left * single).round(), (right * single).round()
    return torch.complex(
        left * torch.cos(phase_left) - right * torch.cos(phase_right),
        left * torch.sin(phase_left) - right * torch.sin(phase_right),
    )
