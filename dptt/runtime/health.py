"""The health of every tilt after a reconstruction: what a microscopist wants to know before trusting it."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from dptt.assembly.descan import LEAST
from dptt.assembly.problem import Problem
from dptt.config import Config
from dptt.io.alignment import read_alignment
from dptt.io.dataset import TiltSeries
from dptt.logs import log
from dptt.model.calibration import BLUR_NAME, UNITS, readable
from dptt.runtime.earlier_results import calibrated_starts
from dptt.solvers.tomography import FinalFits
from dptt.solvers.tomography.calibration import SIGNIFICANT

LITTLE_NOISE = 0.15
"""A figure of fit this far below 1 is no overfitting: the counts are no Poisson counts."""

EXPLAINED = 0.03
"""Excess of the figure of fit over 1 that does not matter."""

Health = dict[str, dict[str, float | int]]
"""Name of the tilt -> its measures; units are part of their names."""
POSE_ERRORS = ("phi_error_deg", "theta_error_deg", "psi_error_deg", "tau_y_error_A", "tau_x_error_A")
"""Measures that are standard deviations of a refined pose, in the order of its parameters."""


def tilt_health(
    config: Config, problem: Problem, series: TiltSeries, metrics: list[dict[str, Any]], fits: FinalFits
) -> Health:
    """Return the measures of every tilt.

    - ``loss``: per electron, in the last epoch
    - ``figure_of_fit``: loss of held-out patterns over that of shot noise, 1 if the volume explains all the rest;
      ``figure_uncertainty``: its standard deviation by shot noise
    - ``unexplained``: loss beyond shot noise, as a fraction of the loss of a model without a specimen
    - ``shot_noise_loss``: the loss per electron that counting statistics alone would give
    - ``weight``: of the tilt in the volume
    - ``fluence_e_A2``
    - ``drift_A``: displacement of the refined from the nominal positions between the first and the last pattern
    - ``patterns_left_out``: number of empty or overexposed patterns
    - ``alignment_residual``: relative misfit of the projection, if the run has an alignment
    - ``phi_error_deg``, ``theta_error_deg``, ``psi_error_deg``, ``tau_y_error_A``, ``tau_x_error_A``: standard
      deviations of what was refined in the last epoch
    - what the calibration found, with ``_error`` its standard deviation: see `model.calibration.readable`
    """
    losses = metrics[-1]["tilt_losses"] if metrics else []
    errors = metrics[-1].get("pose_errors", []) if metrics else []
    nominal = {name: start.scan_positions for name, start in calibrated_starts(config, series)[0].items()}
    aligned = {} if config.alignment is None else read_alignment(config.run / "alignment.h5").tilts
    health: Health = {}
    for i, (name, reader, fit) in enumerate(zip(problem.names, problem.tilts, fits.tilts, strict=True)):
        health[name] = {
            "weight": float(problem.state.tilt_weights[i]),
            "figure_of_fit": fit.figure,
            "figure_uncertainty": fit.uncertainty,
            "unexplained": fit.unexplained,
            "shot_noise_loss": fit.expected / fit.electrons if fit.electrons > 0 else math.nan,
            "fluence_e_A2": fluence(nominal[name], reader.mean_electrons),
            "patterns_left_out": reader.num_left_out,
        }
        found = readable(problem.state.calibration[i], problem.state.calibration_errors[i])
        for measure, (value, error) in found.items():
            health[name][measure], health[name][f"{measure}_error"] = value, error
        refined = problem.state.positions[i].numpy()
        if name in aligned:
            health[name]["alignment_residual"] = aligned[name].misfit
        if i < len(losses):
            health[name]["loss"] = losses[i]
        if i < len(errors):
            health[name] |= {
                key: error for key, error in zip(POSE_ERRORS, errors[i], strict=True) if 0 < error < np.inf
            }
        if len(refined) == len(nominal[name]):
            health[name]["drift_A"] = drift(nominal[name], refined)
    return health


def drift(nominal: np.ndarray, refined: np.ndarray) -> float:
    """Return the drift [Å] between the first and the last pattern, from a line fitted to the corrections."""
    if len(nominal) < 3:
        return 0.0
    time = np.linspace(-0.5, 0.5, len(nominal))
    slope = np.polyfit(time, refined - nominal, 1)[0]
    return float(np.linalg.norm(slope))


def fluence(positions: np.ndarray, mean_electrons: float) -> float:
    """Return the electrons per Å² of the scanned area, of which each position covers an equal share."""
    if len(positions) < 4:
        return 0.0
    # a position covers a square whose side is the distance to its nearest neighbour
    sampled = positions[np.unique(np.linspace(0, len(positions) - 1, 64).astype(int))]
    distance = np.linalg.norm(sampled[:, None] - positions[None], axis=2)
    nearest = np.partition(distance, 1, axis=1)[:, 1]
    side = float(np.median(nearest))
    return mean_electrons / side**2 if side > 0 else 0.0


def fit_sentence(fits: FinalFits) -> str:
    """Say what the figure of fit means."""
    fit, above = fits.together, fits.together.figure - 1
    patterns = "held-out patterns" if fits.held_out else "fitted patterns, which lowers it"
    line = (
        f"figure of fit {fit.figure:.3f} ± {fit.uncertainty:.3f} ({patterns}; 1: all but the shot noise is explained)"
    )
    if above < -max(LITTLE_NOISE, 5 * fit.uncertainty):
        return f"{line}: the counts scatter less than electrons do, so it tells nothing here"
    if above <= 2 * fit.uncertainty:
        return f"{line}: the volume explains these data"
    if fits.held_out:
        noise = min(fits.fitted_noise, above)
        line += f". Of the {above:.3f} above 1, {noise:.3f} is noise that the volume has fitted"
        if above - noise <= max(EXPLAINED, 2 * fit.uncertainty):
            return f"{line}; beyond that it explains these data, and more electrons would improve it"
        line += f", and {above - noise:.3f} is not noise"
    return f"{line}; {100 * fit.unexplained:.1f} % of the scattering is not explained"


def significant_measures(health: Mapping[str, Mapping[str, Any]], reach: float) -> list[str]:
    """Return what of the experiment was found with significance; the result file has the rest too.

    That is what differs from zero by more than its standard errors, in a tilt or on average. A descan must also
    displace patterns at the `reach` of the scan [Å] by what matters: a specimen looks like a smaller one.
    """
    said = []
    for measure in (*UNITS, BLUR_NAME):
        found = [(tilt[measure], tilt.get(f"{measure}_error", 0.0)) for tilt in health.values() if measure in tilt]
        if not found:
            continue
        values, errors = np.array(found, dtype=float).T
        least = LEAST / reach if measure.startswith("descan") and reach > 0 else 0.0
        of_mean = SIGNIFICANT * np.sqrt(np.square(errors).sum()) / len(errors)
        if (abs(values) > np.maximum(SIGNIFICANT * errors, least)).any() or abs(values.mean()) > max(of_mean, least):
            said.append(measure)
    return said


def reach_of_scans(positions: Iterable[Any]) -> float:
    """Return the largest distance along an axis of the scan `positions` of all tilts from the rotation axis [Å]."""
    return max((float(abs(of_tilt).max()) for of_tilt in positions if of_tilt is not None), default=0.0)


def calibration_sentences(health: Health, reach: float) -> list[str]:
    """Say what the calibration found of the experiment: the range over the tilts, and the largest error."""
    sentences = []
    for measure in significant_measures(health, reach):
        tilts = [tilt for tilt in health.values() if measure in tilt]
        values, error = [tilt[measure] for tilt in tilts], max(tilt[f"{measure}_error"] for tilt in tilts)
        certainty = f"each ± {error:.1g} or less" if error else "from an earlier step"
        sentences.append(f"found {measure}: {min(values):.4g} to {max(values):.4g}, {certainty}")
    return sentences


def log_health(health: Health, fits: FinalFits, reach: float) -> None:
    """Say how well all patterns are explained, warn of tilts that are not, and summarise the others in one line.

    `reach` is that of the scans [Å], see `significant_measures`.
    """
    log.info(fit_sentence(fits))
    for name, measures in health.items():
        if measures["weight"] < 1:
            log.warning(
                f"tilt {name} does not fit the volume: {100 * measures['unexplained']:.0f} % of its scattering is "
                f"unexplained, weight reduced to {100 * measures['weight']:.0f} %. "
                "Check its angle, orientation and calibration, or leave it out with reconstruction.exclude"
            )
    for key, title, unit in zip(POSE_ERRORS, ("phi", "theta", "psi", "tau y", "tau x"), "°°°ÅÅ", strict=True):
        errors = [tilt[key] for tilt in health.values() if key in tilt]
        if errors:
            log.info(f"{title}: standard deviation {np.median(errors):.3f} {unit} (median over tilts)")
    for sentence in calibration_sentences(health, reach):
        log.info(sentence)
    losses = [tilt["loss"] for tilt in health.values() if tilt["weight"] >= 1 and "loss" in tilt]
    if losses:
        log.info(f"{len(losses)} of {len(health)} tilts at full weight, loss {min(losses):.3e} to {max(losses):.3e}")
