"""What a fit of atoms decides by trial: how coherent probes are, whether scans are wrong, what atoms do in heat."""

import math
from dataclasses import replace

import torch

from dptt.model.coherence import Coherence, aperture_radius, coherent_probe
from dptt.model.forward import Geometry
from dptt.solvers.atoms.information import directions, standard_errors
from dptt.solvers.atoms.moves import COARSE_STEP, MEDIUM_STEP, Fit
from dptt.solvers.atoms.objective import AtomFitError, evaluate, likelihood
from dptt.solvers.atoms.problem import AtomModel
from dptt.solvers.atoms.scans import STRAINS, deformations, scans_doubt, strains_of_specimen

SIGNIFICANT = 5.0
"""Standard errors of a scan, all else known, by which scans must differ: with the atoms unknown too, errors are two
or three times as large."""
LEAST_B_FACTOR = 0.3
"""[Å²] At the start from a source."""
FIRST_SOURCE, FIRST_SPREAD = 0.1, 10.0
"""Standard deviations of source and focus [Å] that a descent starts with."""
SOURCE_STEPS, SOURCE_PATTERNS = 40, 256
"""Of the trial, and the patterns of a tilt."""


def settle_coherence(fit: Fit) -> None:
    """Give probes that have modes those of a source and a focal spread, if these explain the patterns better.

    A source blurs patterns like atoms that vibrate, which a descent prefers; so the atoms' B makes room for it.
    Better is what lowers the loss by more than its parameters do by fitting noise (Akaike).
    """
    probes = fit.model.probes
    if not fit.settings.probes or fit.model.coherence is not None or len(probes[0]) == 1:
        return
    problem, start, tried = fit.problem, fit.model, []
    fit.problem = replace(problem, stride=max(problem.stride, min(map(len, problem.positions)) // SOURCE_PATTERNS))
    for model in (start, _partially_coherent(start, problem.geometry)):
        fit.model, fit.found, fit.learned = model, None, []
        fit.fit(MEDIUM_STEP, SOURCE_STEPS)
        tried.append((fit.loss + _parameters(fit.model), fit.model))
    fit.problem, fit.found, fit.learned = problem, None, []
    fit.model = min(tried, key=lambda each: each[0])[1]
    found = fit.model.coherence
    if found is None:
        fit.say("no source size and focal spread explain the patterns better than the modes of the reconstruction")
    else:
        fit.say(f"{found.words} explain the patterns better than the modes of the reconstruction")


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
    figure = evaluate(fit.problem, fit.model).loss / found.expected_loss
    doubt = max(least, scans_doubt(figure, coherent=fit.model.coherent))
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


def _parameters(model: AtomModel) -> int:
    """Return the number of parameters of the probes: amplitude and phase of their bright pixels."""
    return sum(2 * int((directions(probe) != 0).sum()) for probe in model.probes)


def _partially_coherent(model: AtomModel, geometry: Geometry) -> AtomModel:
    """Return the model with coherent probes of a source, and atoms whose B is smaller by what that blurs."""
    atoms, probes = model.atoms, tuple(map(coherent_probe, model.probes))
    radius = aperture_radius(probes[0], geometry.sampling)
    b_factors = (atoms.b_factors - 8 * math.pi**2 * FIRST_SOURCE**2).clamp_min(LEAST_B_FACTOR)
    coherence = Coherence(FIRST_SOURCE, FIRST_SPREAD, geometry.wavelength, radius)
    return replace(model, atoms=replace(atoms, b_factors=b_factors), probes=probes, coherence=coherence)


def _without_strain(model: AtomModel) -> AtomModel:
    """Return the model with the scans as told, and atoms and translations without what these have in common."""
    strain = model.scans.mean(0)[STRAINS]
    of_atoms, of_scans = map(torch.linalg.inv, deformations(strain, strains_of_specimen(model.euler_angles)))
    atoms = replace(model.atoms, positions=model.atoms.positions @ of_atoms.T)
    translations = model.translations @ of_scans.T
    return replace(model, atoms=atoms, translations=translations, scans=torch.zeros_like(model.scans))
