"""Which atoms are there: those that the patterns do not need are removed, those that they ask for are added.

The residual asks for an atom where the loss falls with the occupancy of an atom that is not there yet. At places on a
grid between the atoms, its slope g comes from the adjoint of the rendering. With the information F of an occupancy,
-g / sqrt(F) is the atom's significance and -g / F its occupancy.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree
from scipy.special import ndtri
from torch import Tensor

from dptt.model.atoms import Atoms
from dptt.simulation.scattering import integrated_potential
from dptt.solvers.atoms.information import OCCUPANCY, Information, standard_errors
from dptt.solvers.atoms.objective import evaluate
from dptt.solvers.atoms.problem import AtomModel, AtomProblem

LEAST_ATOM = 0.3
"""Potential of the weakest atom that is kept or added, as a fraction of that of the lightest allowed element."""
SIGNIFICANT = 4.0
"""Standard errors of its occupancy that a kept atom has at least."""
CLOSEST = 0.5
"""Distance of two atoms, as a fraction of the smallest separation, below which one of them is removed."""
GRID = 0.5
"""Spacing of the places that are tried, as a fraction of the smallest separation."""
NEW_B_FACTOR = 0.5
"""[Å²]"""


def needed(
    atoms: Atoms, found: Information, elements: tuple[int, ...], min_separation: float
) -> Bool[Tensor, " atom"]:
    """Return which atoms the patterns need."""
    errors = standard_errors(found.atoms)[:, OCCUPANCY]
    lightest = min(integrated_potential(number) for number in elements)
    relative = torch.tensor([integrated_potential(int(z)) / lightest for z in atoms.atomic_numbers]).double()
    strengths = atoms.occupancies * relative
    kept = (strengths > LEAST_ATOM) & (atoms.occupancies > SIGNIFICANT * errors)
    pairs = cKDTree(atoms.positions.numpy()).query_pairs(CLOSEST * min_separation)
    for first, second in sorted(pairs):
        if kept[first] and kept[second]:
            kept[first if strengths[first] < strengths[second] else second] = False
    return kept


def missing(
    problem: AtomProblem,
    model: AtomModel,
    found: Information,
    *,
    elements: tuple[int, ...],
    min_separation: float,
    false_rate: float,
) -> Atoms:
    """Return atoms of the lightest element where the residual asks for them.

    Raises
    ------
    AtomFitError
        On every rank: the loss is not finite.
    """
    lightest = min(elements, key=integrated_potential)
    tried = _atoms(places_between(model.atoms.positions, min_separation), lightest)
    if not len(tried):
        return tried
    slopes = evaluate(problem, model, [tried]).by_occupancy[0]
    relative = torch.tensor([integrated_potential(int(z)) for z in model.atoms.atomic_numbers]).double()
    relative = integrated_potential(lightest) / relative
    curvature = (found.atoms[:, OCCUPANCY, OCCUPANCY] * relative**2).median()
    significance, occupancy = -slopes / curvature.sqrt(), -slopes / curvature
    spread = (
        1.4826 * (significance - significance.median()).abs().median()
    )  # more than 1 where the model is not perfect
    level = -ndtri(min(0.5, false_rate / len(tried))) * max(1.0, spread.item())
    asked = (significance > level) & (occupancy > LEAST_ATOM)
    chosen: list[int] = []
    positions = tried.positions.numpy()
    for number in torch.argsort(-significance).tolist():
        if not asked[number]:
            continue
        if all(np.linalg.norm(positions[number] - positions[other]) >= min_separation for other in chosen):
            chosen.append(number)
    numbers = torch.tensor(chosen, dtype=torch.int64)
    added = tried.chosen(numbers)
    return Atoms(added.positions, occupancy[numbers].clamp(max=1.0), added.b_factors, added.atomic_numbers)


def places_between(atoms: Float[Tensor, "atom 3"], min_separation: float) -> Float[Tensor, "place 3"]:
    """Return the places of a grid that are a separation from every atom or more, and no more than two from one."""
    spacing = GRID * min_separation
    low, high = atoms.numpy().min(0) - 2 * min_separation, atoms.numpy().max(0) + 2 * min_separation
    axes = [np.arange(a, b + spacing, spacing) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    distance, _ = cKDTree(atoms.numpy()).query(grid)
    return torch.from_numpy(grid[(distance >= min_separation) & (distance <= 2 * min_separation)])


def _atoms(positions: Float[Tensor, "place 3"], atomic_number: int) -> Atoms:
    count = len(positions)
    return Atoms(
        positions,
        torch.ones(count, dtype=torch.float64),
        torch.full((count,), NEW_B_FACTOR, dtype=torch.float64),
        torch.full((count,), atomic_number),
    )
