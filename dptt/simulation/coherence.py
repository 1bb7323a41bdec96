"""Partial coherence: an ensemble of probes, its density matrix, and the few modes that carry its power.

A finite source and a spread of focus make the illumination a mixture of shifted and defocused probes, whose
*intensities* add. The eigenvectors of their density matrix are a mixed-state probe with the same intensities, so
the forward model of [P] eq. 10 serves unchanged, and the simulated truth is of the kind that a reconstruction fits.
"""

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from dptt.physics.probe import make_probe, orthogonalise_modes, shift_probe
from dptt.simulation.acquisition import Optics

POWER_KEPT = 0.9995
"""Least part of the electrons in the modes that are kept; intensities are then right to 0.1 %, twice what is lost."""
QUADRATURE_NODES = 7
"""Gauss-Hermite nodes along each of source y, source x and defocus: exact for polynomials up to order 13."""


def probe_modes(
    optics: Optics, shape: tuple[int, int], *, electrons: float = 1.0, power_kept: float = POWER_KEPT
) -> Complex[Tensor, "mode y x"]:
    """Return the mixed-state probe in the plane z' = 0, strongest mode first, sum |psi|² = `electrons`.

    Parameters
    ----------
    optics
        The lens and the source.
    shape
        Pixels (y, x) that divide the window `optics.window`.
    electrons
        Per pattern.
    power_kept
        Least part of the power in the modes that are kept, which are then scaled up to hold all electrons. A
        source of 0.2 Å at 25 mrad and 300 keV needs 20 modes for 0.9995, 11 for 0.99.
    """
    if optics.source_size == 0 and optics.focal_spread == 0:
        return _probe(optics, shape, 0.0)[None] * electrons**0.5
    modes = orthogonalise_modes(probe_ensemble(optics, shape))
    powers = modes.abs().square().sum((-2, -1))
    kept = int(torch.searchsorted(torch.cumsum(powers, 0), power_kept * powers.sum())) + 1
    return modes[:kept] * (electrons / powers[:kept].sum()) ** 0.5


def probe_ensemble(
    optics: Optics, shape: tuple[int, int], nodes: int = QUADRATURE_NODES
) -> Complex[Tensor, "member y x"]:
    """Return probes whose intensities add up to those of a source and a focus of Gaussian spread; power 1 in all."""
    sampling = tuple(length / n for length, n in zip(optics.window, shape, strict=True))
    offsets, offset_weights = _gaussian_quadrature(optics.source_size, nodes)
    members = []
    for focus, focus_weight in zip(*_gaussian_quadrature(optics.focal_spread, nodes), strict=True):
        shift_y, shift_x = torch.meshgrid(offsets / sampling[0], offsets / sampling[1], indexing="ij")
        weights = focus_weight * offset_weights[:, None] * offset_weights[None, :]
        shifted = shift_probe(_probe(optics, shape, float(focus)), shift_y.flatten(), shift_x.flatten())
        members.append(shifted * torch.sqrt(weights).flatten()[:, None, None])
    return torch.cat(members)


def _probe(optics: Optics, shape: tuple[int, int], focus: float) -> Complex[Tensor, "y x"]:
    sampling = (optics.window[0] / shape[0], optics.window[1] / shape[1])
    aberrations = {**optics.aberrations, "C10": optics.aberrations.get("C10", 0.0) + focus}
    return make_probe(
        shape,
        sampling,
        wavelength=optics.wavelength,
        semiangle=optics.semiangle_cutoff,
        aberrations=aberrations,
        soft_aperture=optics.soft_aperture,
    )


def _gaussian_quadrature(deviation: float, nodes: int) -> tuple[Tensor, Tensor]:
    """Return nodes and weights (sum 1) for averages over a normal distribution of standard `deviation`."""
    if deviation == 0:
        return torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    return torch.from_numpy(points * deviation), torch.from_numpy(weights / weights.sum())
