"""The fit of atoms to the patterns, from the atoms traced in a volume to elements and error bars.

    on the coarse grid of the reconstruction
        fit positions, occupancies, B, probes (and poses)
        choose elements, fit
        remove what is not needed, add what is missing, fit; undo it unless it is better    for some rounds
    on the fine grid, which holds what the atoms scatter beyond the detector
        fit, choose elements, fit
        error bars and elements' probabilities

Every fit is a preconditioned quasi-Newton descent over all patterns, see `descent` and `unknowns`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from dptt.model.atoms import PARAMETERS
from dptt.solvers.atoms.descent import Point, descend
from dptt.solvers.atoms.elements import ElementChoice, as_chosen, choose_elements
from dptt.solvers.atoms.information import Information, information, standard_errors
from dptt.solvers.atoms.objective import AtomFitError, evaluate
from dptt.solvers.atoms.problem import AtomModel, AtomProblem
from dptt.solvers.atoms.settings import AtomFitSettings
from dptt.solvers.atoms.sites import missing, needed
from dptt.solvers.atoms.unknowns import Unknowns

PATTERNS, FINAL_PATTERNS = 12, 24
"""In a draw of noise: for preconditioner and elements, and for the error bars."""
FEWEST_FOR_SCATTER = 20
"""Atoms from which on the scatter of their occupancies is known to a fifth."""
COARSE_STEP, FINE_STEP = 1.0, 0.15
"""Standard errors: an rms step of the positions below which a fit ends."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class FittedAtoms:
    """The result of a fit; the same on every rank."""

    model: AtomModel
    errors: Float[Tensor, "atom 5"]
    """Standard errors of `model.atoms.packed()`, see `error_factor`."""
    elements: ElementChoice
    figure: float
    """Loss over that of shot noise."""
    figure_uncertainty: float
    added: int
    removed: int
    passes: int
    """Over the patterns."""


class _Fit:
    """The present model on a grid, and what was done to it."""

    def __init__(self, problem: AtomProblem, model: AtomModel, settings: AtomFitSettings, say: Say) -> None:
        self.problem, self.model, self.settings, self._say = problem, model, settings, say
        self._draws = math.ceil(settings.draws / 2)
        self.loss = math.inf
        self.found: Information | None = None
        self.passes = self.added = self.removed = 0

    def fit(self, smallest: float) -> None:
        """Move to the best model of the same atoms; `smallest` is the last step [standard errors]."""
        if self.found is None:
            self.found = information(self.problem, self.model, draws=self._draws, patterns=PATTERNS)
        unknowns = Unknowns(
            self.problem, self.model, self.found, probes=self.settings.probes, poses=self.settings.poses
        )

        def function(vector: Tensor) -> tuple[float, Tensor, AtomModel]:
            here = unknowns.model_of(vector)
            evaluation = evaluate(self.problem, here)
            self.passes += 1
            return evaluation.loss, unknowns.gradient(evaluation), here

        def say(number: int, point: Point[AtomModel]) -> None:
            self._say(f"fit of {len(point.extra.atoms)} atoms, step {number:02d}  loss {point.value:.6e}")

        end = descend(
            function,
            unknowns.vector(self.model),
            unknowns.precondition,
            iterations=self.settings.iterations,
            settled=lambda step: unknowns.step_in_errors(step) < smallest,
            limited=unknowns.limited,
            on_step=say,
        )
        self.model, self.loss = end.extra, end.value

    def choose_elements(self) -> int:
        """Give every atom its likeliest element; return how many change theirs."""
        choice, self.found = choose_elements(
            self.problem, self.model, self.settings.elements, draws=self._draws, patterns=PATTERNS
        )
        changed = int((choice.atomic_numbers != self.model.atoms.atomic_numbers).sum())
        self._say(f"{changed} of {len(choice.atomic_numbers)} atoms change their element")
        self.model = self.model.with_atoms(as_chosen(self.model.atoms, choice))
        return changed

    def mend(self) -> bool:
        """Remove what the patterns do not need, add what they ask for, and fit again; return whether it was better.

        It is better if the loss gains more than the parameters of the atoms cost (Bayesian information criterion).
        """
        assert self.found is not None
        settings, before = self.settings, (self.model, self.found, self.loss)
        kept = needed(self.model.atoms, self.found, settings.elements, settings.min_separation)
        if not kept.any():
            raise AtomFitError(
                f"the patterns need none of the {len(kept)} traced atoms. Check `atoms.elements` and the volume"
            )
        new = missing(
            self.problem,
            self.model.with_atoms(self.model.atoms.chosen(kept)),
            replace(self.found, atoms=self.found.atoms[kept]),
            elements=settings.elements,
            min_separation=settings.min_separation,
            false_rate=settings.false_rate,
        )
        removed = int((~kept).sum())
        if not removed and not len(new):
            return False
        figure = max(1.0, self.loss / self.found.expected_loss)
        pixels = math.prod(self.problem.geometry.window_shape) * sum(map(len, self.problem.positions))
        cost = figure * len(PARAMETERS) / 2 * math.log(pixels) * (len(new) - removed)
        self.model = self.model.with_atoms(self.model.atoms.chosen(kept).joined(new))
        self.found = None
        self.fit(COARSE_STEP)
        if self.choose_elements():
            self.fit(COARSE_STEP)
        better = self.loss + cost < before[2]
        self._say(f"{removed} atoms removed, {len(new)} added" + ("" if better else "; no better, and undone"))
        if not better:
            self.model, self.found, self.loss = before
            return False
        self.removed, self.added = self.removed + removed, self.added + len(new)
        return True

    def onto(self, problem: AtomProblem) -> None:
        """Continue on another grid."""
        self.model = self.model.on_grid(self.problem.geometry, problem.geometry)
        self.problem = problem

    def result(self) -> FittedAtoms:
        """Return the fitted atoms with error bars and probabilities."""
        choice, found = choose_elements(
            self.problem, self.model, self.settings.elements, draws=self.settings.draws, patterns=FINAL_PATTERNS
        )
        figure = self.loss / found.expected_loss
        return FittedAtoms(
            self.model,
            standard_errors(found.atoms) * error_factor(choice, figure),
            choice,
            figure,
            math.sqrt(found.loss_variance) / found.expected_loss,
            self.added,
            self.removed,
            self.passes,
        )


def error_factor(choice: ElementChoice, figure: float) -> float:
    """Return by what errors of shot noise alone are multiplied, because no model is perfect.

    Atoms of one element have one occupancy: how much more theirs scatter than shot noise explains is what the rest of
    the model does to a parameter. Of few atoms that is not known, and the figure of fit is taken alone.
    """
    scatter = choice.tempering if len(choice.atomic_numbers) >= FEWEST_FOR_SCATTER else 1.0
    return math.sqrt(max(1.0, figure, scatter))


def fit_atoms(
    coarse: AtomProblem,
    fine: AtomProblem,
    start: AtomModel,
    settings: AtomFitSettings,
    say: Say = lambda line: None,
) -> FittedAtoms:
    """Return the atoms that the patterns ask for; `start` is on the grid of `coarse`.

    `say` is called with a line for every step.

    Raises
    ------
    AtomFitError
        On every rank: a loss is not finite, or the patterns need none of the atoms.
    """
    fit = _Fit(coarse, start, settings, say)
    fit.fit(COARSE_STEP)
    if fit.choose_elements():
        fit.fit(COARSE_STEP)
    for _ in range(settings.rounds):
        if not fit.mend():
            break
    fit.onto(fine)
    fit.fit(COARSE_STEP)
    fit.choose_elements()
    fit.fit(FINE_STEP)
    return fit.result()
