"""What is known of a potential before it is measured: shrinkage, positivity, smoothness. All work in place."""

import math

import torch
from jaxtyping import Float, Inexact
from torch import Tensor


def typical_potential(volume: Inexact[Tensor, "z y x"]) -> float:
    """Return sqrt(sum V⁴ / sum V²) of Re V [V]: the potential where there is some, however much vacuum surrounds it.

    Thresholds are fractions of it, so that one default serves carbon and gold, ice and any voxel size.
    """
    squared = (volume.real if volume.is_complex() else volume).square()
    total = squared.sum().item()
    return math.sqrt(squared.square().sum().item() / total) if total > 0 else 0.0


def shrink_(values: Float[Tensor, "..."], threshold: float) -> Float[Tensor, "..."]:
    """Apply the proximal operator of the L1 norm, sign(v) max(|v| - threshold, 0) ([P] eq. 17), in place."""
    if threshold > 0:
        values.copy_(torch.nn.functional.softshrink(values, threshold))
    return values


def reduce_negative_(values: Float[Tensor, "..."], strength: float) -> Float[Tensor, "..."]:
    """Take the fraction `strength` of every negative value away, in place; 1 projects on non-negative values."""
    if strength > 0:
        values.copy_(torch.where(values < 0, (1 - strength) * values, values))
    return values


def butterworth_(
    volume: Inexact[Tensor, "z y x"], voxel_size: tuple[float, float, float], cutoff: float, order: int
) -> Inexact[Tensor, "z y x"]:
    """Multiply the spectrum by 1 / (1 + (k/cutoff)^(2 order)), in place; `cutoff` [1/Å] ([P], ablation study)."""
    kz, ky, kx = _frequencies(volume, voxel_size)
    response = 1 / (1 + ((kz**2 + ky**2 + kx**2) / cutoff**2) ** order)
    return _filter_(volume, response)


def regularise_layers_(
    volume: Inexact[Tensor, "z y x"],
    voxel_size: tuple[float, float, float],
    beam: Float[Tensor, "3"],
    weight: float,
    strength: float = 1.0,
) -> Inexact[Tensor, "z y x"]:
    """Damp what one tilt cannot resolve along its beam, in place (the layer kernel of [P], ablation study).

    The spectrum is multiplied by 1 - (2/pi) atan²-type damping of frequencies along `beam`, the filter of multislice
    ptychography [Chen et al. 2021]: W = 1 - 2/pi atan((weight |k_beam| / |k_across|)²), applied in the frame of the
    tilt without rotating the volume. Waves across the beam (k_beam = 0) pass unchanged.

    Parameters
    ----------
    beam
        Unit vector (z, y, x) of the beam in the frame of the volume.
    weight
        Larger damps more; 0 changes nothing.
    strength
        Fraction of the filtered volume mixed in, 0 to 1.
    """
    if weight <= 0 or strength <= 0:
        return volume
    kz, ky, kx = _frequencies(volume, voxel_size)
    along = kz * beam[0] + ky * beam[1] + kx * beam[2]
    across_squared = (kz**2 + ky**2 + kx**2 - along**2).clamp_min(0)
    lowest = min(1 / (n * d) for n, d in zip(volume.shape, voxel_size, strict=True))
    ratio = (weight * along) ** 2 / (across_squared + lowest**2)
    response = 1 - strength * (2 / math.pi) * torch.atan(ratio)
    return _filter_(volume, response)


def _frequencies(volume: Tensor, voxel_size: tuple[float, float, float]) -> tuple[Tensor, Tensor, Tensor]:
    real = torch.empty(0, dtype=volume.dtype).real.dtype
    kz, ky, kx = (
        torch.fft.fftfreq(n, d, dtype=real, device=volume.device)
        for n, d in zip(volume.shape, voxel_size, strict=True)
    )
    return kz[:, None, None], ky[None, :, None], kx[None, None, :]


def _filter_(volume: Tensor, response: Tensor) -> Tensor:
    filtered = torch.fft.ifftn(torch.fft.fftn(volume).mul_(response))
    return volume.copy_(filtered if volume.is_complex() else filtered.real)
