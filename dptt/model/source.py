"""Probes of a source that has a size: a few modes with nearly the intensities of all its points together.

Where intensities of shifted probes add up, two beams k and k' interfere by exp(-2 pi² s² |k - k'|²) less, s being the
standard deviation of the source. To first order in k·k' that is a mixture of three modes,

    P(k) (1, 2 pi i s ky, 2 pi i s kx) / sqrt(1 + (2 pi s k)²)

of a coherent probe P, each angle with all its electrons. A fit finds the rest of the way from there; from modes of
another size it does not: atoms are blurred instead, and scans then seem too small.
"""

import math

import torch
from jaxtyping import Complex
from torch import Tensor

from dptt.physics.grid import spatial_frequencies
from dptt.physics.probe import orthogonalise_modes


def coherent_probe(modes: Complex[Tensor, "mode y x"]) -> Complex[Tensor, "y x"]:
    """Return a probe with the phases of the strongest mode and the electrons of all at every angle."""
    strongest = torch.fft.fft2(orthogonalise_modes(modes)[0])
    amplitude = torch.fft.fft2(modes).abs().square().sum(0).sqrt()
    return torch.fft.ifft2(torch.polar(amplitude, strongest.angle()))


def source_modes(
    probe: Complex[Tensor, "y x"], source_size: float, sampling: tuple[float, float]
) -> Complex[Tensor, "3 y x"]:
    """Return the modes of a coherent `probe` from a source of standard deviation `source_size` [Å]."""
    spectrum = torch.fft.fft2(probe)
    along_y, along_x = (
        2 * math.pi * source_size * k.to(probe.device)
        for k in spatial_frequencies((probe.shape[0], probe.shape[1]), sampling, dtype=torch.float64)
    )
    factors = torch.stack([torch.ones_like(along_y + along_x), along_y + 0 * along_x, along_x + 0 * along_y])
    factors = factors / factors.square().sum(0).sqrt()
    factors = torch.complex(torch.cat([factors[:1], 0 * factors[1:]]), torch.cat([0 * factors[:1], factors[1:]]))
    return torch.fft.ifft2(spectrum * factors.to(probe.dtype))
