"""The fit of atoms to the patterns, from the atoms traced in a volume to elements and error bars.

    on the coarse grid of the reconstruction
        find the size of the source and the focal spread, if the probes have modes          see `model.coherence`
        fit positions, occupancies, B, probes (and poses)
        choose elements, fit
    on the fine grid, which holds what the atoms scatter beyond the detector
        fit some of the scan positions; from here on with the scans, unless they turn out to be right
        fit with absorption and diffuse scattering, and keep these if they explain more       see `model.diffuse`
        choose elements, compute absorption and diffuse scattering again, fit
        remove what is not needed, add what is missing, fit; undo it unless it is better    for some rounds
        fit all scan positions, starting with the curvature that was learned from some
        error bars and elements' probabilities

Every fit is a preconditioned quasi-Newton descent, see `descent` and `unknowns`.
"""

from dataclasses import replace

from dptt.solvers.atoms.moves import COARSE_STEP, FINE_STEP, MEDIUM_STEP, AfterStep, Fit, FittedAtoms, Say
from dptt.solvers.atoms.problem import AtomModel, AtomProblem
from dptt.solvers.atoms.progress import Progress, Stage
from dptt.solvers.atoms.settings import AtomFitSettings
from dptt.solvers.atoms.settling import settle_coherence, settle_scans, settle_thermal

FEWEST_PATTERNS = 64
"""Of a tilt, in the fit of some of the scan positions on the fine grid."""
LARGEST_STRIDE = 6
"""Of these: the model then moves by the root of it, in standard errors, when the others are added."""


def fit_atoms(
    coarse: AtomProblem,
    fine: AtomProblem,
    start: AtomModel | Progress,
    settings: AtomFitSettings,
    say: Say = lambda line: None,
    after_step: AfterStep = lambda progress: None,
) -> FittedAtoms:
    """Return the atoms that the patterns ask for.

    Parameters
    ----------
    start
        On the grid of `coarse`; or where an earlier fit was, which is then continued.
    say
        Called with a line for every step.
    after_step
        Called after every step with where the fit is; what it raises ends the fit.

    Raises
    ------
    AtomFitError
        On every rank: a loss is not finite, or the patterns need none of the atoms.
    """
    begun = start if isinstance(start, Progress) else Progress(start)
    some = replace(fine, stride=max(1, min(LARGEST_STRIDE, min(map(len, fine.positions)) // FEWEST_PATTERNS)))
    fit = Fit(some if begun.stage > Stage.ELEMENTS else coarse, begun, settings, say, after_step)
    if fit.stage == Stage.COHERENCE:
        settle_coherence(fit)
        fit.advance()
    if fit.stage == Stage.COARSE:
        fit.fit(COARSE_STEP)
        fit.advance()
    if fit.stage == Stage.ELEMENTS:
        fit.choose_elements_if_better()
        fit.onto(some)
        fit.advance()
    fit.vibrate()
    if fit.stage == Stage.FINE:
        fit.fit(MEDIUM_STEP)
        fit.advance()
    if fit.stage == Stage.SCANS:
        settle_scans(fit)
        fit.advance()
    if fit.stage == Stage.THERMAL:
        settle_thermal(fit)
        fit.advance()
    if fit.stage == Stage.FINE_ELEMENTS:
        if not fit.steps:  # a fit that goes on has chosen them
            fit.choose_elements()
            fit.vibrate()
        fit.fit(FINE_STEP)
        fit.advance()
    if fit.stage == Stage.MENDING:
        for _ in range(settings.rounds):
            if not fit.mend():
                break
        fit.advance()
    fit.onto(fine)
    fit.vibrate()
    fit.fit(FINE_STEP)
    return fit.result(some.stride)
