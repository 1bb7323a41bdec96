"""What a fit of atoms does to the model: it moves atoms, chooses elements, mends, and ends with errors.

What it decides by trial is in `settling`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dptt.model.atoms import PARAMETERS
from dptt.model.coherence import FEW, MANY
from dptt.solvers.atoms.descent import Pairs, Point, descend
from dptt.solvers.atoms.elements import ElementChoice, as_chosen, choose_elements
from dptt.solvers.atoms.errors import misfit_factors
from dptt.solvers.atoms.information import Information, information, standard_errors
from dptt.solvers.atoms.objective import AtomFitError, Evaluation, evaluate
from dptt.solvers.atoms.problem import AtomModel, AtomProblem, with_vibrations
from dptt.solvers.atoms.progress import Progress, Stage
from dptt.solvers.atoms.rehearsal import growth, simulated
from dptt.solvers.atoms.scans import scans_doubt
from dptt.solvers.atoms.settings import AtomFitSettings
from dptt.solvers.atoms.sites import missing, needed
from dptt.solvers.atoms.unknowns import Unknowns

PATTERNS, FINAL_PATTERNS = 12, 24
"""In a draw of noise: for preconditioner and elements, and for the error bars."""
MAY_BE_UNDONE = (Stage.COHERENCE, Stage.ELEMENTS, Stage.SCANS, Stage.THERMAL, Stage.MENDING)
"""Stages that a fit does not end within: nothing is left half done."""
COARSE_STEP, MEDIUM_STEP, FINE_STEP = 1.0, 0.3, 0.1
"""Standard errors: an rms step of the positions, and a Newton step still to be made, below which a fit ends."""

Say = Callable[[str], None]
AfterStep = Callable[[Progress], None]


@dataclass(frozen=True)
class FittedAtoms:
    """The result of a fit; the same on every rank."""

    model: AtomModel
    errors: Float[Tensor, "atom 5"]
    """Standard errors of `model.atoms.packed()`: of shot noise with all else known, times `misfit_factors`."""
    misfit_factors: Float[Tensor, "5"]
    """By which errors are larger: no model is perfect, see `errors`, and all is fitted at once, see `rehearsal`."""
    elements: ElementChoice
    figure: float
    """Loss over that of shot noise."""
    figure_uncertainty: float
    scan_doubt: float
    """By which everything may be larger or smaller, as a fraction, beyond shot noise; 0 if scans are not fitted."""
    added: int
    removed: int
    passes: float
    """Over the patterns."""


class Fit:
    """The present model on a grid, and what was done to it."""

    def __init__(
        self, problem: AtomProblem, begun: Progress, settings: AtomFitSettings, say: Say, after_step: AfterStep
    ) -> None:
        self.problem, self.model, self.settings, self.say = problem, begun.model, settings, say
        self._after_step, self._draws = after_step, math.ceil(settings.draws / 2)
        self.loss = math.inf
        self.found: Information | None = None
        self.learned: Pairs = []
        self.stage, self.steps, self.passes = begun.stage, begun.steps, begun.passes
        self.added, self.removed = begun.added, begun.removed
        self.vibrating = begun.vibrating or settings.thermal == "diffuse"

    def advance(self) -> None:
        """Begin the next stage."""
        self.stage, self.steps = Stage(self.stage + 1), 0

    def fit(self, smallest: float, most: int | None = None) -> None:
        """Move to the best model of the same atoms.

        `smallest` is the last step [standard errors], of which the loss falls by half its square for every parameter;
        `most` is how many there are, if not those of the settings.
        """
        before = self.steps
        if self.model.coherence is not None:
            kept = MANY if self.stage > Stage.ELEMENTS else FEW
            self.model = replace(self.model, coherence=self.model.coherence.recentred(kept))
        found = self.informed()
        unknowns = Unknowns(
            self.problem,
            self.model,
            found,
            probes=self.settings.probes,
            poses=self.settings.poses,
            scans=self.fits_scans,
        )

        start = unknowns.vector(self.model)
        if self.learned and len(self.learned[0][0]) != len(start):  # of other unknowns
            self.learned = []

        def function(vector: Tensor) -> tuple[float, Tensor, AtomModel]:
            here = unknowns.model_of(vector)
            evaluation = evaluate(self.problem, here)
            self.passes += 1 / self.problem.stride
            return evaluation.loss, unknowns.gradient(vector, evaluation), here

        def say(number: int, point: Point[AtomModel]) -> None:
            some = f" to 1 of {self.problem.stride} patterns" if self.problem.stride > 1 else ""
            coherence = "" if point.extra.coherence is None else f", {point.extra.coherence.words}"
            self.say(
                f"fit of {len(point.extra.atoms)} atoms{some}, step {before + number:02d}  loss {point.value:.6e}"
                f"{coherence}"
            )
            if self.stage not in MAY_BE_UNDONE:
                self.steps = before + number
                counts = self.added, self.removed, self.passes, self.vibrating
                self._after_step(Progress(point.extra, self.stage, self.steps, *counts))

        end = descend(
            function,
            start,
            unknowns.precondition,
            iterations=max(0, (most or self.settings.iterations) - before),
            settled=lambda step, gradient, fall: (
                fall < smallest**2 * self.model.atoms.packed().numel() / 2
                and all(unknowns.step_in_errors(each) < smallest for each in (step, unknowns.precondition(gradient)))
            ),
            limited=unknowns.limited,
            on_step=say,
            pairs=self.learned,
        )
        self.model, self.loss = end.extra, end.value

    def informed(self) -> Information:
        """Return the information of the present model, or of a like one before."""
        if self.found is None:
            self.found = information(self.problem, self.model, draws=self._draws, patterns=PATTERNS)
        return self.found

    def vibrate(self) -> None:
        """Compute absorption and diffuse scattering of the present atoms, if they vibrate."""
        if self.vibrating:
            self.model = with_vibrations(self.problem, self.model, self.settings.elements)

    @property
    def fits_scans(self) -> bool:
        """Whether scans are fitted: a coarse grid misjudges their scale, and later they may have been given up."""
        settled = self.stage > Stage.SCANS and not self.model.scans.any()
        return self.settings.scans and self.stage > Stage.ELEMENTS and not settled

    def choose_elements(self) -> int:
        """Give every atom its likeliest element; return how many change theirs."""
        choice, self.found, evaluation = choose_elements(
            self.problem, self.model, self.settings.elements, draws=self._draws, patterns=PATTERNS
        )
        changed = int((choice.atomic_numbers != self.model.atoms.atomic_numbers).sum())
        self.say(f"{changed} of {len(choice.atomic_numbers)} atoms change their element")
        self.model = self.model.with_atoms(as_chosen(self.model.atoms, choice))
        if changed:
            self.learned = []
        else:
            self.loss = evaluation.loss
        return changed

    def choose_elements_if_better(self) -> None:
        """Choose elements and fit; if the patterns are explained no better, leave them for the fine grid."""
        if not math.isfinite(self.loss):  # the fit before was in another start of the program
            self.loss = evaluate(self.problem, self.model).loss
        before = self.model, self.found, self.loss, self.learned[:]
        if self.choose_elements():
            self.fit(COARSE_STEP)
            if not self.loss < before[2]:
                self.say("the elements explain the patterns no better yet; they are chosen later")
                self.model, self.found, self.loss, self.learned = before

    def mend(self) -> bool:
        """Remove what the patterns do not need, add what they ask for, and fit again; return whether it was better.

        It is better if the loss gains more than the parameters of the atoms cost (Bayesian information criterion).
        """
        if self.found is None:
            self.choose_elements()
            self.loss = evaluate(self.problem, self.model).loss
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
        pixels = math.prod(self.problem.geometry.window_shape) * sum(
            len(self.problem.used(tilt)) for tilt in range(len(self.problem.tilts))
        )
        cost = figure * len(PARAMETERS) / 2 * math.log(pixels) * (len(new) - removed)
        self.model = self.model.with_atoms(self.model.atoms.chosen(kept).joined(new))
        self.found, self.learned = None, []
        self.fit(COARSE_STEP)
        if self.choose_elements():
            self.fit(COARSE_STEP)
        better = self.loss + cost < before[2]
        self.say(f"{removed} atoms removed, {len(new)} added" + ("" if better else "; no better, and undone"))
        if not better:
            self.model, self.found, self.loss = before
            self.learned = []
            return False
        self.removed, self.added = self.removed + removed, self.added + len(new)
        return True

    def onto(self, problem: AtomProblem) -> None:
        """Continue on another grid, or with more or fewer of the scan positions."""
        if problem.geometry != self.problem.geometry:
            self.model = self.model.on_grid(self.problem.geometry, problem.geometry)
            self.found, self.learned = None, []
        else:
            factor = self.problem.stride / problem.stride
            self.found = None if self.found is None else self.found.of_more(factor)
            self.learned = [(step, factor * change) for step, change in self.learned]
        self.problem = problem

    def result(self, stride: int) -> FittedAtoms:
        """Return the fitted atoms with error bars and probabilities; one of `stride` patterns is for the rehearsal.

        An atom that was added late may have been given its element too early: then it gets the likeliest, and a fit.
        """
        choice, found, evaluation = self._final_choice()
        if not torch.equal(choice.atomic_numbers, self.model.atoms.atomic_numbers):
            self.model = self.model.with_atoms(as_chosen(self.model.atoms, choice))
            self.found, self.learned, self.steps = None, [], 0
            self.fit(FINE_STEP)
            choice, found, evaluation = self._final_choice()
        figure = evaluation.loss / found.expected_loss
        least = 1.0 if self.settings.probes or self.settings.poses else 0.0
        factors = misfit_factors(evaluation.by_atom_in_tilt, found.atoms, figure=figure, least=least)
        factors = factors * self._growth(found, stride)
        errors = standard_errors(found.atoms) * factors
        doubt = scans_doubt(figure, coherent=self.model.coherent) if self.fits_scans else 0.0
        errors[:, :3] = torch.hypot(errors[:, :3], doubt * self.model.atoms.positions)
        return FittedAtoms(
            self.model,
            errors,
            factors,
            choice,
            figure,
            math.sqrt(found.loss_variance) / found.expected_loss,
            doubt,
            self.added,
            self.removed,
            self.passes,
        )

    def _growth(self, found: Information, stride: int) -> Float[Tensor, "5"]:
        """Return by how much errors grow because all is fitted at once, from a fit of simulated counts."""
        problem = simulated(replace(self.problem, stride=stride), self.model)
        progress = Progress(self.model, Stage.FINAL, vibrating=self.vibrating)
        again = Fit(problem, progress, self.settings, lambda line: None, lambda progress: None)
        again.found = found.of_more(1 / stride)
        again.learned = [(step, change / stride) for step, change in self.learned]
        again.fit(FINE_STEP)
        self.passes += again.passes
        moved = again.model.atoms.packed() - self.model.atoms.packed()
        return growth(moved, standard_errors(again.found.atoms))

    def _final_choice(self) -> tuple[ElementChoice, Information, Evaluation]:
        return choose_elements(
            self.problem, self.model, self.settings.elements, draws=self.settings.draws, patterns=FINAL_PATTERNS
        )
