r"""Which element an atom is: the likelihood of each allowed one, with its position, occupancy and B fitted.

About the fitted atom the loss is quadratic in its parameters and in the occupancies of other elements at its place:

    L(d) = L + g·d + d·F d / 2        g by the adjoint, F the Fisher information

Taking the atom away and putting another element there, with position and B free, costs what this form says: no fit is
repeated. The best occupancy of the right element is 1, whatever the element; that of another differs, or its form
factor does not fit.

Occupancies of atoms of one element scatter more than shot noise explains, because the model is not perfect. All
likelihoods are tempered by that scatter, so that a probability is that of the element and not of the noise.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dptt.model.atoms import Atoms
from dptt.solvers.atoms.information import OCCUPANCY, Information, information
from dptt.solvers.atoms.objective import Evaluation, evaluate
from dptt.solvers.atoms.problem import AtomModel, AtomProblem

CERTAIN = 0.9
"""Probability above which an element is told; below, it cannot be told."""
MEDIAN_OF_CHI_SQUARED = 0.4549
"""With one degree of freedom."""
FREE = [0, 1, 2, 4]
"""Columns of the present atom that adapt when the element changes: position and B."""
COMMON_SCALE = (0.8, 1.25)
"""Range of the occupancy that all atoms may have in common: the electrons of the probe are known about so well."""


@dataclass(frozen=True)
class ElementChoice:
    """What the patterns say of the element of every atom."""

    atomic_numbers: Int[Tensor, " atom"]
    """The likeliest."""
    probabilities: Float[Tensor, "atom element"]
    """Of every allowed element."""
    occupancies: Float[Tensor, "atom element"]
    """That an atom of that element would have."""
    tempering: float
    """By which the logarithms of likelihoods were divided."""
    scale: float
    """Occupancy that all atoms have in common."""

    @property
    def told(self) -> Tensor:
        """Of which atoms the element is told, (atom,)."""
        return self.probabilities.max(dim=1).values >= CERTAIN


def choose_elements(
    problem: AtomProblem, model: AtomModel, elements: tuple[int, ...], *, draws: int, patterns: int
) -> tuple[ElementChoice, Information, Evaluation]:
    """Return the likeliest element of every atom, and information and gradients of the atoms as they are.

    `draws` and `patterns` are those of `information`.
    """
    possible = [_as_element(model.atoms, number) for number in elements]
    evaluation = evaluate(problem, model, possible)
    found = information(problem, model, draws=draws, patterns=patterns, alternatives=possible)
    gradient = torch.cat([evaluation.by_atom, torch.stack(evaluation.by_occupancy, dim=1)], dim=1)
    chosen = choice(gradient, found.atoms, model.atoms.occupancies, elements)
    return chosen, replace(found, atoms=found.atoms[:, :5, :5].contiguous()), evaluation


def choice(
    gradient: Float[Tensor, "atom column"],
    blocks: Float[Tensor, "atom column column"],
    present: Float[Tensor, " atom"],
    elements: tuple[int, ...],
) -> ElementChoice:
    """Return the choice from gradient and information by the columns of `information`.

    `present` are the occupancies of the atoms as they are.
    """
    fits = [_replaced(gradient, blocks, present, 5 + number) for number in range(len(elements))]
    loss, occupancies, variances = (torch.stack(each, dim=1) for each in zip(*fits, strict=True))
    scale = torch.tensor(1.0, dtype=torch.float64)
    for _ in range(3):
        misfit = (occupancies - scale) ** 2 / variances
        total = loss + misfit / 2
        best = total.argmin(dim=1)
        scale = occupancies.gather(1, best[:, None]).median().clamp(*COMMON_SCALE)
    scatter = ((occupancies - scale) ** 2 / variances).gather(1, best[:, None])
    tempering = max(1.0, scatter.median().item() / MEDIAN_OF_CHI_SQUARED)
    probabilities = torch.softmax(-total / tempering, dim=1)
    return ElementChoice(torch.tensor(elements)[best], probabilities, occupancies, tempering, scale.item())


def _replaced(gradient: Tensor, blocks: Tensor, present: Tensor, column: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return loss, occupancy and its variance when the atom of `column` replaces the present one, all else fitted."""
    free = torch.tensor([*FREE, column])
    removed = -present
    by_free = gradient[:, free] + blocks[:, free, OCCUPANCY] * removed[:, None]
    inner = blocks[:, free][:, :, free]
    inner = inner + 1e-6 * torch.diag_embed(torch.einsum("app->ap", inner))
    inverse = torch.linalg.inv(inner)
    fitted = -torch.einsum("apq,aq->ap", inverse, by_free)
    loss = gradient[:, OCCUPANCY] * removed + blocks[:, OCCUPANCY, OCCUPANCY] * removed**2 / 2
    return loss + (by_free * fitted).sum(1) / 2, fitted[:, -1], inverse[:, -1, -1]


def as_chosen(atoms: Atoms, chosen: ElementChoice) -> Atoms:
    """Return atoms of the likeliest elements; one that changes its element gets the occupancy that fits it."""
    column = chosen.probabilities.argmax(dim=1, keepdim=True)
    fitting = chosen.occupancies.gather(1, column)[:, 0]
    occupancies = torch.where(chosen.atomic_numbers == atoms.atomic_numbers, atoms.occupancies, fitting)
    return Atoms(atoms.positions, occupancies, atoms.b_factors, chosen.atomic_numbers)


def _as_element(atoms: Atoms, atomic_number: int) -> Atoms:
    """Return whole atoms of one element at the places of `atoms`."""
    return Atoms(
        atoms.positions,
        torch.ones_like(atoms.occupancies),
        atoms.b_factors,
        torch.full_like(atoms.atomic_numbers, atomic_number),
    )
