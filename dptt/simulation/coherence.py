"""Partial coherence: an ensemble of probes, its density matrix, and the few modes that carry its power.

With a finite source and a spread of focus, the probe is a mixture of shifted and defocused probes, whose
*intensities* add. The eigenvectors of their density matrix are a mixed-state probe with the same intensities. The
forward model of [P] eq. 10 therefore applies unchanged, and a reconstruction can fit the simulated probe.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from dptt.physics.probe import make_probe, orthogonalise_modes, shift_probe
from dptt.simulation.acquisition import Optics
from dptt.simulation.checks import require_at_most

POWER_KEPT = 0.9995
"""Minimum fraction of the electrons in the modes that are kept. Intensities are then accurate to 0.1 %."""

MOST_NODES = 1000
"""Of the quadrature along one axis."""


def probe_modes(
    optics: Optics, shape: tuple[int, int], *, electrons: float = 1.0, power_kept: float = POWER_KEPT
) -> Complex[Tensor, "mode y x"]:
    """Return the mixed-state probe in the plane z' = 0, strongest mode first, sum |psi|² = `electrons`.

    Parameters
    ----------
    optics
        The lens and the source.
    shape
        Number of pixels (y, x) in the window `optics.window`.
    electrons
        Electrons per pattern.
    power_kept
        Minimum fraction of the power in the modes that are kept, which are then scaled to hold all electrons. A
        source of 0.2 Å at 25 mrad and 300 keV needs 20 modes for 0.9995, 11 for 0.99.
    """
    # Each focus is reduced before all are combined, ten times more strictly, to keep the eigenproblems small.
    reduced = [_strongest(members, 1 - (1 - power_kept) / 10) for members in probe_ensemble(optics, shape)]
    modes = _strongest(torch.cat(reduced), power_kept) if len(reduced) > 1 else _strongest(reduced[0], power_kept)
    return modes * (electrons / modes.abs().square().sum()) ** 0.5


def probe_ensemble(
    optics: Optics, shape: tuple[int, int], extra_nodes: int = 0
) -> Iterator[Complex[Tensor, "member y x"]]:
    """Yield, focus by focus, probes whose intensities add up to those of the true mixture; their total power is 1.

    Gaussian spreads are integrated by Gauss-Hermite quadrature. The number of nodes follows from the phase that a
    spread causes at the edge of the aperture; `extra_nodes` are added to it.
    """
    sampling = tuple(length / n for length, n in zip(optics.window, shape, strict=True))
    (offsets, offset_weights), foci = quadratures(optics, extra_nodes)
    shift_y, shift_x = torch.meshgrid(offsets / sampling[0], offsets / sampling[1], indexing="ij")
    for focus, focus_weight in zip(*foci, strict=True):
        weights = focus_weight * offset_weights[:, None] * offset_weights[None, :]
        shifted = shift_probe(_probe(optics, shape, float(focus)), shift_y.flatten(), shift_x.flatten())
        yield shifted * torch.sqrt(weights).flatten()[:, None, None]


def quadratures(optics: Optics, extra_nodes: int = 0) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return (offsets [Å], weights) of the source along one axis, and (foci [Å], weights).

    Raises
    ------
    ValueError
        There are too many, because a spread is far beyond the resolution.
    """
    edge = 1e-3 * optics.semiangle_cutoff / optics.wavelength  # [1/Å]
    # The density matrix couples frequencies up to one aperture diameter apart.
    return (
        _quadrature(optics.source_size, 4 * math.pi * edge, extra_nodes),
        _quadrature(optics.focal_spread, math.pi * optics.wavelength * edge**2, extra_nodes),
    )


def _strongest(members: Complex[Tensor, "member y x"], power_kept: float) -> Complex[Tensor, "mode y x"]:
    """Return the strongest orthogonal modes, as many as are needed for the fraction `power_kept` of the power."""
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

    With 3 + 2.4 phi nodes, the average of exp(i phi x) is accurate to about 1e-4; phi [rad] is the phase of one
    standard deviation.
    """
    if deviation == 0:
        return torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    phase = phase_per_length * deviation
    require_at_most("probes in an average", 3 + 2.4 * phase, MOST_NODES, "Reduce source_size or focal_spread.")
    nodes = 3 + 2 * math.ceil(1.2 * phase) + extra_nodes
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    return torch.from_numpy(points * deviation), torch.from_numpy(weights / weights.sum())
