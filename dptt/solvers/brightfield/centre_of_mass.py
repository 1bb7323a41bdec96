"""Scan rotation from the centre of mass of the patterns, which has no curl where it is a gradient.

For any thin phase object and any aberrations, the centre of mass of the pattern at p is the gradient of phi, blurred
by the intensity of the probe (Lazić et al. 2016). Rotated into the axes of the raster by M^T, the field c has no
curl. With X = q x c and D = q . c in the stored frame, for a rotation by a

    curl(a) = cos a X - sin a D,      its energy  cos² a S_XX + sin² a S_DD - 2 sin a cos a S_XD,

a sinusoid of 2a with known amplitude and phase. A transposition exchanges the components of c. The energy of the curl
determines the parity, and a up to 180 degrees; the positive sign of potentials determines the rest.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from dptt.solvers.brightfield.data import BrightFieldData, taper
from dptt.solvers.brightfield.orientation import Orientation, wrapped
from dptt.solvers.brightfield.transfer import scan_frequencies

GROUPS = 4
"""Interleaved sets of frequencies whose scatter gives the uncertainty."""


@dataclass(frozen=True)
class Curl:
    """Share of the curl in the energy of the centre of mass as a function of rotation, for one parity.

    Parameters
    ----------
    transposed
        Whether the detector's axes were exchanged.
    rotation
        Of the smallest curl, up to 180 [degrees].
    uncertainty
        Of the rotation [degrees].
    amplitude
        The share is 1/2 - amplitude cos 2 (a - rotation).
    """

    transposed: bool
    rotation: float
    uncertainty: float
    amplitude: float

    @property
    def least(self) -> float:
        """Smallest share of the curl: 0 for a perfect gradient, 0.5 for noise."""
        return 0.5 - self.amplitude

    def share(self, rotation: float) -> float:
        """Return the share of the curl at a `rotation` [degrees]."""
        return 0.5 - self.amplitude * math.cos(math.radians(2 * (rotation - self.rotation)))


def curl(data: BrightFieldData, transposed: bool) -> Curl:
    """Return the curl as a function of rotation, for one parity."""
    spectrum, q = _spectrum(data)
    if transposed:
        spectrum = spectrum.flip(0)
    length = torch.linalg.vector_norm(q, dim=1)
    cross = (q[:, 0] * spectrum[1] - q[:, 1] * spectrum[0]) / length
    along = (q[:, 0] * spectrum[0] + q[:, 1] * spectrum[1]) / length
    real, imaginary = _sinusoid(cross, along)
    groups = [_sinusoid(cross[g::GROUPS], along[g::GROUPS]) for g in range(GROUPS)]
    rotation = math.degrees(math.atan2(imaginary, real)) / 2
    scatter = [wrapped(math.degrees(math.atan2(i, r)) / 2 - rotation, 180.0) for r, i in groups]
    uncertainty = math.sqrt(sum(s * s for s in scatter) / (GROUPS * (GROUPS - 1)))
    return Curl(transposed, rotation, uncertainty, math.hypot(real, imaginary))


def integrated(data: BrightFieldData, orientation: Orientation) -> Float[Tensor, "scan_y scan_x"]:
    """Return the phase [rad] whose gradient fits the centre of mass best, in the least-squares sense."""
    spectrum, _ = _spectrum(data, all_frequencies=True)
    in_raster = torch.einsum("de,dyx->eyx", orientation.matrix().to(spectrum.dtype), spectrum)
    qy, qx = scan_frequencies(data)
    square = qy**2 + qx**2
    square[0, 0] = 1.0  # the mean of the phase is unknown; its gradient is zero
    return torch.fft.ifft2((qy * in_raster[0] + qx * in_raster[1]) / (1j * square)).real


def _sinusoid(cross: Tensor, along: Tensor) -> tuple[float, float]:
    """Return the cosine and sine parts, in 2a, of 1/2 minus the share of the curl."""
    s_cross, s_along = cross.abs().square().sum(), along.abs().square().sum()
    mixed = (cross * along.conj()).real.sum()
    total = (s_cross + s_along).clamp_min(1e-300)
    return (0.5 * (s_along - s_cross) / total).item(), (mixed / total).item()


def _spectrum(
    data: BrightFieldData, all_frequencies: bool = False
) -> tuple[Complex[Tensor, "..."], Float[Tensor, "freq 2"]]:
    """Return the spectrum of the centre of mass [1/Å] without its linear trend (descan), and its frequencies."""
    field = data.centre_of_mass * 1e-3 / data.wavelength
    rows, columns = (torch.arange(n, dtype=field.dtype) - (n - 1) / 2 for n in data.scan_shape)
    y, x = rows[:, None] / max(len(rows), 1), columns[None, :] / max(len(columns), 1)
    field = field - field.mean((1, 2), keepdim=True)
    for ramp in (y.expand(data.scan_shape), x.expand(data.scan_shape)):
        slope = (field * ramp).sum((1, 2)) / ramp.square().sum().clamp_min(1e-300)
        field = field - slope[:, None, None] * ramp
    spectrum = torch.fft.fft2(field * taper(data.scan_shape, field.dtype))
    qy, qx = scan_frequencies(data)
    grid = torch.stack(torch.broadcast_tensors(qy, qx), -1)
    if all_frequencies:
        return spectrum, grid.reshape(-1, 2)
    highest = min(data.semiangle * 1e-3 / data.wavelength, 0.25 / max(data.step))
    length = torch.linalg.vector_norm(grid, dim=-1)
    band = (length > 0) & (length <= highest) & ((grid[..., 0] > 0) | ((grid[..., 0] == 0) & (grid[..., 1] > 0)))
    return spectrum[:, band], grid[band]
