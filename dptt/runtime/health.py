"""The health of every tilt after a reconstruction: what a microscopist would want to know before trusting it."""

from typing import Any

import numpy as np

from dptt.assembly.problem import Problem
from dptt.config import Config
from dptt.io.alignment import read_alignment
from dptt.io.dataset import TiltSeries
from dptt.logs import log
from dptt.runtime.earlier_results import calibrated_starts

Health = dict[str, dict[str, float | int]]
"""Name of the tilt -> its figures; the units are in their names."""


def tilt_health(config: Config, problem: Problem, series: TiltSeries, metrics: list[dict[str, Any]]) -> Health:
    """Return the figures of every tilt.

    ``loss`` per electron of the last epoch and ``shot_noise_loss``, what counting statistics alone would leave;
    ``weight`` of the tilt in the volume; ``fluence_e_A2``; ``drift_A``, how far refined positions moved against
    nominal ones from the first to the last pattern; ``patterns_left_out``, empty or overexposed ones;
    ``alignment_residual``, what the alignment leaves of its projection, where there was one.
    """
    losses = metrics[-1]["tilt_losses"] if metrics else []
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
        if len(refined) == len(nominal[name]):
            health[name]["drift_A"] = drift(nominal[name], refined)
    return health


def drift(nominal: np.ndarray, refined: np.ndarray) -> float:
    """Return the length [Å] of the way between the first and the last pattern: a line fitted to the corrections."""
    if len(nominal) < 3:
        return 0.0
    time = np.linspace(-0.5, 0.5, len(nominal))
    slope = np.polyfit(time, refined - nominal, 1)[0]
    return float(np.linalg.norm(slope))


def fluence(positions: np.ndarray, mean_electrons: float) -> float:
    """Return the electrons per Å² of the scanned area, each position standing for an equal share of it."""
    if len(positions) < 4:
        return 0.0
    # the area that one position stands for: that of a square whose side is the distance to the nearest neighbour
    some = positions[np.unique(np.linspace(0, len(positions) - 1, 64).astype(int))]
    distance = np.linalg.norm(some[:, None] - positions[None], axis=2)
    nearest = np.partition(distance, 1, axis=1)[:, 1]
    side = float(np.median(nearest))
    return mean_electrons / side**2 if side > 0 else 0.0


def log_health(health: Health) -> None:
    """Say which tilts the volume cannot explain, and name the others in one line."""
    for name, figures in health.items():
        if figures["weight"] < 1:
            log.warning(
                f"tilt {name} is not explained by the volume: loss {figures.get('loss', float('nan')):.3e} "
                f"(shot noise {figures['shot_noise_loss']:.1e}); it counted {100 * figures['weight']:.0f} %. "
                "Check its angle, orientation and calibration, or leave it out with reconstruction.exclude"
            )
    sound = [figures["loss"] for figures in health.values() if figures["weight"] >= 1 and "loss" in figures]
    if sound:
        log.info(f"{len(sound)} of {len(health)} tilts at full weight, loss {min(sound):.3e} to {max(sound):.3e}")
