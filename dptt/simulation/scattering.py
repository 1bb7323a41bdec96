"""Electron scattering by atoms as sums of Gaussians [International Tables C (2006), table 4.3.2.2].

f_e(k) = sum_i a_i exp(-b_i k²/4) [Å], five terms, fitted for k/2 up to 2 1/Å. The Fourier transform of the potential
is h²/(2 pi m0 e) f_e(k) [V Å³]. Thermal motion multiplies it by exp(-2 pi² u² k²), which adds 8 pi² u² to every b.
The potential of an atom is thus a sum of five three-dimensional Gaussians of variance b/(8 pi²) + u² [Å²].
"""

import functools

import gemmi
import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from dptt.physics.electron import POTENTIAL_PER_SCATTERING_FACTOR


@functools.cache
def gaussian_coefficients(atomic_number: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the amplitudes a [Å] and widths b [Å²] of an element.

    Raises
    ------
    ValueError
        The table does not contain the element; it covers Z = 1 to 98.
    """
    coefficients = gemmi.Element(atomic_number).c4322 if 1 <= atomic_number <= 118 else None
    if coefficients is None or sum(coefficients.a) == 0:
        raise ValueError(f"atomic number {atomic_number} has no electron scattering factors; expected 1 to 98")
    return tuple(coefficients.a), tuple(coefficients.b)


def scattering_factor(atomic_number: int, k: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return f_e(k) [Å] of an atom at rest at spatial frequencies `k` [1/Å]."""
    amplitudes, widths = gaussian_coefficients(atomic_number)
    terms = [a * torch.exp(-b / 4 * k**2) for a, b in zip(amplitudes, widths, strict=True)]
    return torch.stack(terms).sum(0)


def integrated_potential(atomic_number: int) -> float:
    """Return the volume integral [V Å³] of an atom's potential, h²/(2 pi m0 e) f_e(0)."""
    return POTENTIAL_PER_SCATTERING_FACTOR * sum(gaussian_coefficients(atomic_number)[0])


def potential_gaussians(
    atomic_numbers: Int64[np.ndarray, " atom"], rms_displacements: Float64[np.ndarray, " atom"]
) -> tuple[Float64[np.ndarray, "atom 5"], Float64[np.ndarray, "atom 5"]]:
    """Return integrals [V Å³] and variances [Å²] of the five Gaussians of each atom's potential."""
    elements, element_index = np.unique(atomic_numbers, return_inverse=True)
    table = np.array([gaussian_coefficients(int(z)) for z in elements], dtype=np.float64)
    variances = table[element_index, 1] / (8 * np.pi**2) + rms_displacements[:, None] ** 2
    return POTENTIAL_PER_SCATTERING_FACTOR * table[element_index, 0], variances
