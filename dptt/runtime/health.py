"""The health of every tilt after a reconstruction: what a microscopist wants to know before trusting it."""

from typing import Any

import numpy as np

from dptt.assembly.problem import Problem
from dptt.config import Config
from dptt.io.alignment import read_alignment
from dptt.io.dataset import TiltSeries
from dptt.logs import log
from dptt.runtime.earlier_results import calibrated_starts

Health = dict[str, dict[str, float | int]]
"""Name of the tilt -> its measures; units are part of their names."""
POSE_ERRORS = ("phi_error_deg", "theta_error_deg", "psi_error_deg", "tau_y_error_A", "tau_x_error_A")
"""Measures that are standard deviations of a refined pose, in the order of its parameters."""


def tilt_health(config: Config, problem: Problem, series: TiltSeries, metrics: list[dict[str, Any]]) -> Health:
    """Return the measures of every tilt.

    - ``loss``: per electron, in the last epoch
    - ``shot_noise_loss``: the loss that counting statistics alone would give
    - ``weight``: of the tilt in the volume
    - ``fluence_e_A2``
    - ``drift_A``: displacement of the refined from the nominal positions between the first and the last pattern
    - ``patterns_left_out``: number of empty or overexposed patterns
    - ``alignment_residual``: relative misfit of the projection, if the run has an alignment
    - ``phi_error_deg``, ``theta_error_deg``, ``psi_error_deg``, ``tau_y_error_A``, ``tau_x_error_A``: standard
      deviations of what was refined in the last epoch
    """
    losses = metrics[-1]["tilt_losses"] if metrics else []
    errors = metrics[-1].get("pose_errors", []) if metrics else []
    nominal = {name: start.scan_positions for name, start in calibrated_starts(config, series)[0].items()}
    aligned = {} if config.alignment is None else read_alignment(config.run / "alignment.h5").tilts
    health: Health = {}
    for i, (name, reader) in enumerate(zip(problem.names, problem.tilts, strict=True)):
        health[name] = {
            "weight": float(problem.state.tilt_weights[i]),
            "shot_noise_loss": reader.shot_noise_loss,
            "fluence_e_A2": fluence(nominal[name], reader.mean_electrons),
            "patterns_left_out": reader.num_left_out,
        }
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


def log_health(health: Health) -> None:
    """Warn of the tilts that do not fit the volume, and summarise the others in one line."""
    for name, measures in health.items():
        if measures["weight"] < 1:
            log.warning(
                f"tilt {name} does not fit the volume: loss {measures.get('loss', float('nan')):.3e} (shot "
                f"noise {measures['shot_noise_loss']:.1e}), weight reduced to {100 * measures['weight']:.0f} %. "
                "Check its angle, orientation and calibration, or leave it out with reconstruction.exclude"
            )
    for key, title, unit in zip(POSE_ERRORS, ("phi", "theta", "psi", "tau y", "tau x"), "°°°ÅÅ", strict=True):
        errors = [tilt[key] for tilt in health.values() if key in tilt]
        if errors:
            log.info(f"{title}: standard deviation {np.median(errors):.3f} {unit} (median over tilts)")
    losses = [tilt["loss"] for tilt in health.values() if tilt["weight"] >= 1 and "loss" in tilt]
    if losses:
        log.info(f"{len(losses)} of {len(health)} tilts at full weight, loss {min(losses):.3e} to {max(losses):.3e}")
