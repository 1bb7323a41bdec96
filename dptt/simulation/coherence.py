"""Partial coherence: an ensemble of probes, its density matrix, and the few modes that carry its power.

A finite source and a spread of focus make the illumination a mixture of shifted and defocused probes, whose
*intensities* add. The eigenvectors of their density matrix are a mixed-state probe with the same intensities, so
the forward model of [P] eq. 10 serves unchanged, and the simulated truth is of the kind that a reconstruction fits.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from dptt.physics.probe import make_probe, orthogonalise_modes, shift_probe
from dptt.simulation.acquisition import Optics

POWER_KEPT = 0.9995
"""Least part of the electrons in the modes that are kept; intensities are then right to 0.1 %, twice what is lost."""


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
    # Each focus is reduced before all are put together, an order more strictly, to keep the eigenproblems small.
    reduced = [_strongest(members, 1 - (1 - power_kept) / 10) for members in probe_ensemble(optics, shape)]
    modes = _strongest(torch.cat(reduced), power_kept) if len(reduced) > 1 else _strongest(reduced[0], power_kept)
    return modes * (electrons / modes.abs().square().sum()) ** 0.5


def probe_ensemble(
    optics: Optics, shape: tuple[int, int], extra_nodes: int = 0
) -> Iterator[Complex[Tensor, "member y x"]]:
    """Yield, focus by focus, probes whose intensities add up to those of the true mixture; power 1 in all.

    Gaussian spreads are integrated by Gauss-Hermite quadrature with as many nodes as the phase they cause at the edge
    of the aperture needs, and `extra_nodes`.
    """
    sampling = tuple(length / n for length, n in zip(optics.window, shape, strict=True))
    edge = 1e-3 * optics.semiangle_cutoff / optics.wavelength  # [1/Å]
    # The density matrix couples frequencies up to an aperture's diameter apart.
    offsets, offset_weights = _quadrature(optics.source_size, 4 * math.pi * edge, extra_nodes)
    shift_y, shift_x = torch.meshgrid(offsets / sampling[0], offsets / sampling[1], indexing="ij")
    for focus, focus_weight in zip(
        *_quadrature(optics.focal_spread, math.pi * optics.wavelength * edge**2, extra_nodes), strict=True
    ):
        weights = focus_weight * offset_weights[:, None] * offset_weights[None, :]
        shifted = shift_probe(_probe(optics, shape, float(focus)), shift_y.flatten(), shift_x.flatten())
        yield shifted * torch.sqrt(weights).flatten()[:, None, None]


def _strongest(members: Complex[Tensor, "member y x"], power_kept: float) -> Complex[Tensor, "mode y x"]:
    """Return the fewest orthogonal modes that hold `power_kept` of the power."""
    if len(members) == 1:
        return members
    modes = orthogonalise_modes(members)
    power = torch.cumsum(modes.abs().square().sum((-2, -1)), 0)
    return modes[: int((power < power_kept * power[-1]).sum()) + 1]


def _probe(optics: Optics, shape: tuple[int, int], focus: float) -> Complex[Tensor, "y x"]:
    return make_probe(
        shape,
        (optics.window[0] / shape[0], optics.window[1] / shape[1]),
        wavelength=optics.wavelength,
        semiangle=optics.semiangle_cutoff,
        aberrations={**optics.aberrations, "C10": optics.aberrations.get("C10", 0.0) + focus},
        soft_aperture=optics.soft_aperture,
    )


def _quadrature(deviation: float, phase_per_length: float, extra_nodes: int) -> tuple[Tensor, Tensor]:
    """Return nodes [Å] and weights (sum 1) for averages over a normal distribution of standard `deviation` [Å].

    exp(i phi x) is averaged to about 1e-4 by 3 + 2.4 phi nodes, phi [rad] being the phase of one deviation.
    """
    if deviation == 0:
        return torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    nodes = 3 + 2 * math.ceil(1.2 * phase_per_length * deviation) + extra_nodes
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    return torch.from_numpy(points * deviation), torch.from_numpy(weights / weights.sum())
