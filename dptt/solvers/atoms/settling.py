"""What a fit of atoms decides by trial: the size of the source, whether scans are wrong, what thermal motion does."""

import math
from dataclasses import replace

import torch

from dptt.model.source import coherent_probe, source_modes
from dptt.solvers.atoms.information import standard_errors
from dptt.solvers.atoms.moves import COARSE_STEP, Fit
from dptt.solvers.atoms.objective import AtomFitError, evaluate, likelihood
from dptt.solvers.atoms.problem import AtomModel
from dptt.solvers.atoms.scans import STRAINS, deformations, scans_doubt, strains_of_specimen

SIGNIFICANT = 5.0
"""Standard errors of a scan, all else known, by which scans must differ: with the atoms unknown too, errors are two
or three times as large."""
LEAST_B_FACTOR = 0.3
"""[Å²] At the start from a source."""
SOURCE_SIZES = (0.1, 0.2, 0.3)
"""Standard deviations that are tried [Å]; then half a step to both sides of the best."""
SOURCE_STEPS, SOURCE_PATTERNS = 15, 64
"""Of each try, and the patterns of a tilt."""


def settle_source(fit: Fit) -> None:
    """Give probes that have modes those of the size of source that explains the patterns best.

    A source blurs patterns like atoms that vibrate, which a descent prefers; so the atoms' B makes room for it.
    """
    probes = fit.model.probes
    if not fit.settings.probes or len(probes[0]) == 1:
        return
    problem, start = fit.problem, fit.model
    fit.problem = replace(problem, stride=max(problem.stride, min(map(len, problem.positions)) // SOURCE_PATTERNS))

    tried: dict[float | None, tuple[float, AtomModel]] = {}

    def best_of(*sizes: float | None) -> float | None:
        """Try further sizes, None for the modes as they are; return the best of all."""
        for size in sizes:
            fit.model = start if size is None else _with_source(start, size, problem.geometry.sampling)
            fit.found, fit.learned = None, []
            fit.fit(COARSE_STEP, SOURCE_STEPS)
            tried[size] = fit.loss, fit.model
        return min(tried, key=lambda size: tried[size][0])

    best = best_of(None, *SOURCE_SIZES)
    if best is not None:
        best = best_of(best - SOURCE_SIZES[0] / 2, best + SOURCE_SIZES[0] / 2)
    words = "no source size explains" if best is None else f"a source of {best:.3g} Å explains"
    fit.say(f"{words} the patterns better than {'any' if best is None else 'the modes of the reconstruction'}")
    fit.problem, fit.found, fit.learned = problem, None, []
    fit.loss, fit.model = tried[best]


def settle_scans(fit: Fit) -> None:
    """Give up scans that were fitted if they differ by no more than noise and what a fit may misjudge."""
    if not fit.fits_scans or not fit.settings.least_scan:
        return
    if fit.problem.stride > 1 and scans_differ(fit):
        fit.say("scale, rotation or shear of the scans differ from those of the reconstruction, and are fitted")
        return
    fit.say("scale, rotation and shear of the scans are right as far as the patterns tell")
    fit.settings = replace(fit.settings, scans=False)
    fit.model, fit.found, fit.learned = _without_strain(fit.model), None, []
    fit.fit(COARSE_STEP)


def scans_differ(fit: Fit) -> bool:
    """Return whether what scans have in common, or by what they differ, is more than noise and the doubt of a fit."""
    scans, found, least = fit.model.scans, fit.informed(), fit.settings.least_scan
    of_tilt = standard_errors(found.scans).square().mean(0).sqrt()
    of_mean = of_tilt / math.sqrt(len(scans))
    of_mean[STRAINS] = torch.maximum(of_mean[STRAINS], standard_errors(found.strain[None])[0])
    doubt = max(least, scans_doubt(evaluate(fit.problem, fit.model).loss / found.expected_loss))
    mean = scans.mean(0)
    together = mean.abs() > (SIGNIFICANT * of_mean).clamp_min(doubt)
    apart = (scans - mean).square().mean(0).sqrt() > (SIGNIFICANT * of_tilt).clamp_min(least)
    return bool((together | apart).any())


def settle_thermal(fit: Fit) -> None:
    """Fit atoms that vibrate too, unless the settings say otherwise, and keep what explains more."""
    if fit.vibrating or fit.settings.thermal == "smeared":
        return
    before = fit.model, fit.found, fit.loss, fit.learned[:]
    fit.vibrating = True
    try:
        fit.vibrate()
        fit.fit(COARSE_STEP)
        gain = likelihood(fit.problem, before[0]) - likelihood(fit.problem, fit.model)
        verdict = f"explain the patterns {'better' if gain > 0 else 'less'} than smeared ones"
        verdict += f", by {abs(gain):.3g} in the log-likelihood"
    except AtomFitError as failure:  # on every rank: where the traced atoms are far from the true ones
        gain, verdict = -math.inf, f"cannot be fitted ({failure}), smeared ones can"
    fit.say(f"thermal motion: atoms that absorb and scatter diffusely {verdict}")
    if not gain > 0:
        fit.vibrating = False
        fit.model, fit.found, fit.loss, fit.learned = before


def _with_source(model: AtomModel, size: float, sampling: tuple[float, float]) -> AtomModel:
    """Return the model with the modes of a source, and atoms whose B is smaller by what that blurs."""
    atoms = model.atoms
    b_factors = (atoms.b_factors - 8 * math.pi**2 * size**2).clamp_min(LEAST_B_FACTOR)
    probes = tuple(source_modes(coherent_probe(probe), size, sampling) for probe in model.probes)
    return replace(model, atoms=replace(atoms, b_factors=b_factors), probes=probes)


def _without_strain(model: AtomModel) -> AtomModel:
    """Return the model with the scans as told, and atoms and translations without what these have in common."""
    strain = model.scans.mean(0)[STRAINS]
    of_atoms, of_scans = map(torch.linalg.inv, deformations(strain, strains_of_specimen(model.euler_angles)))
    atoms = replace(model.atoms, positions=model.atoms.positions @ of_atoms.T)
    translations = model.translations @ of_scans.T
    return replace(model, atoms=atoms, translations=translations, scans=torch.zeros_like(model.scans))
