"""Prior knowledge of a potential: shrinkage, positivity, smoothness."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from dptt.distributed.comm import SerialCommunicator
from dptt.distributed.slabs import Rows
from dptt.kernels import Thresholds
from dptt.solvers.tomography.settings import TomographySettings


def typical_potential(power_sums: Float[Tensor, "2"]) -> float:
    """Return sqrt(sum V⁴ / sum V²) [V]: a potential typical of the atoms, independent of the vacuum around them.

    Thresholds are fractions of it, so that one default suits carbon and gold, ice and any voxel size. `power_sums`
    are those of the complete volume, see `kernels.power_sums`.
    """
    total, fourth = power_sums.tolist()
    return math.sqrt(fourth / total) if total > 0 else 0.0


def thresholds(potential: float, settings: TomographySettings, epoch: int) -> Thresholds:
    """Return the constraints of one minibatch at a typical `potential` [V] (the ablation study of [P])."""
    constraints = settings.regularisation
    age = epoch - constraints.l1_start
    decay = 1.0 if constraints.l1_half_life is None else 0.5 ** (age / constraints.l1_half_life)
    unit = potential / settings.batches
    return Thresholds(
        negative=constraints.nonnegativity,
        shrinkage=constraints.l1 * decay * unit if age >= 0 else 0.0,
        negative_absorption=float(constraints.nonnegative_absorption),
        absorption_shrinkage=constraints.shrinkage * unit,
    )


def butterworth_(
    volume: Inexact[Tensor, "z y x"],
    voxel_size: tuple[float, float, float],
    cutoff: float,
    order: int,
    rows: Rows | None = None,
) -> Inexact[Tensor, "z y x"]:
    """Multiply the spectrum by 1 / (1 + (k/cutoff)^(2 order)), in place; `cutoff` [1/Å] ([P], ablation study).

    `rows` are those of a volume that is cut into slabs.
    """

    def response(kz: Tensor, ky: Tensor, kx: Tensor) -> Tensor:
        return 1 / (1 + ((kz**2 + ky**2 + kx**2) / cutoff**2) ** order)

    return _filter_(volume, voxel_size, response, rows)


def gaussian_(volume: Inexact[Tensor, "z y x"], sigma: float, rows: Rows | None = None) -> Inexact[Tensor, "z y x"]:
    """Convolve with a Gaussian of standard deviation `sigma` [voxels], in place; periodic at the borders.

    `rows` are those of a volume that is cut into slabs.
    """

    def response(kz: Tensor, ky: Tensor, kx: Tensor) -> Tensor:
        return torch.exp(-2 * (math.pi * sigma) ** 2 * (kz**2 + ky**2 + kx**2))

    return _filter_(volume, (1.0, 1.0, 1.0), response, rows)


def regularise_layers_(
    volume: Inexact[Tensor, "z y x"],
    voxel_size: tuple[float, float, float],
    beam: Float[Tensor, "3"],
    weight: float,
    strength: float = 1.0,
    rows: Rows | None = None,
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
    rows
        Of a volume that is cut into slabs.
    """
    if weight <= 0 or strength <= 0:
        return volume
    shape = (volume.shape[0], rows.length if rows else volume.shape[1], volume.shape[2])
    lowest = min(1 / (n * d) for n, d in zip(shape, voxel_size, strict=True))

    def response(kz: Tensor, ky: Tensor, kx: Tensor) -> Tensor:
        along = kz * beam[0] + ky * beam[1] + kx * beam[2]
        across_squared = (kz**2 + ky**2 + kx**2 - along**2).clamp_min(0)
        ratio = (weight * along) ** 2 / (across_squared + lowest**2)
        return 1 - strength * (2 / math.pi) * torch.atan(ratio)

    return _filter_(volume, voxel_size, response, rows)


def _filter_(
    volume: Tensor,
    voxel_size: tuple[float, float, float],
    response: Callable[[Tensor, Tensor, Tensor], Tensor],
    rows: Rows | None,
) -> Tensor:
    """Multiply the spectrum by `response`(kz, ky, kx) [1/Å], in place.

    A volume cut along y is transformed along z and x, cut along x instead, and transformed along y.
    """
    rows = rows or Rows(volume.shape[1], SerialCommunicator())
    real = volume.real.dtype
    kz, ky, kx = (
        torch.fft.fftfreq(n, d, dtype=real, device=volume.device)
        for n, d in zip((volume.shape[0], rows.length, volume.shape[2]), voxel_size, strict=True)
    )
    spectrum, own = rows.turned(torch.fft.fftn(volume, dim=(0, 2)))
    if own:
        spectrum = torch.fft.fft(spectrum, dim=1)
        spectrum *= response(kz[:, None, None], ky[None, :, None], kx[None, None, own.start : own.stop])
        spectrum = torch.fft.ifft(spectrum, dim=1)
    filtered = torch.fft.ifftn(rows.turned_back(spectrum, volume.shape[2]), dim=(0, 2))
    return volume.copy_(filtered if volume.is_complex() else filtered.real)
