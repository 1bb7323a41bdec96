"""What the page proposes to try next, from what the run shows and what its configuration leaves out."""

from pathlib import Path

import numpy as np

from dptt.config import Config
from dptt.report.content import ReportContent, column, number, text

POOR_FIT = 1.2
"""Figure of fit from which on something other than shot noise matters."""
STILL_FALLING = 0.02
"""Relative fall of the loss over the last quarter of the epochs from which on more epochs are proposed."""
OVERFITTED = 0.02
"""Relative rise of the held-out loss above its minimum."""
EXACT = 1e-6
"""Error against the truth [Å or degrees] up to which a simulation has left something as it is reported."""
MOST = 5
"""Proposals; more are no help."""


def next_steps(content: ReportContent, config: Config, run: Path, finished: bool) -> list[str]:
    """Return at most `MOST` sentences, the most useful first; settings are named as the configuration does."""
    if not finished:
        return _unfinished(config, run)
    return [*_epochs(content, config), *_fit(content, config), *_trust(content, config)][:MOST]


def _unfinished(config: Config, run: Path) -> list[str]:
    if (run / "checkpoint.h5").exists():
        return [
            "This reconstruction is not finished: follow it with `dptt watch`, or continue it with "
            "`dptt reconstruct` and the same configuration."
        ]
    return [
        "There is no volume yet: `dptt run` does the remaining steps of the configuration, and skips those that are "
        "up to date."
    ]


def _epochs(content: ReportContent, config: Config) -> list[str]:
    loss, held_out = column(content.epochs, "loss"), column(content.epochs, "held_out_loss")
    if len(loss) < 4 or not np.isfinite(loss).all():
        return []
    if np.isfinite(held_out).all() and held_out[-1] > (1 + OVERFITTED) * held_out.min():
        best = int(np.argmin(held_out)) + 1
        return [
            f"The held-out loss was lowest in epoch {best}: use reconstruction.epochs={best}, or a larger "
            "reconstruction.regularisation.l1."
        ]
    start = len(loss) - 1 - max(2, len(loss) // 4)
    if loss[start] - loss[-1] > STILL_FALLING * loss[start]:
        return [
            f"The loss is still falling: continue with reconstruction.epochs={2 * config.reconstruction.epochs}; "
            "completed epochs are not repeated."
        ]
    return []


def _fit(content: ReportContent, config: Config) -> list[str]:
    figure = number(content.analysis, "figure_of_fit")
    if figure is None or figure < POOR_FIT:
        return []
    choices = config.reconstruction
    lines = []
    left = _worth_refining(content, config)
    if left:
        lines.append(
            f"The misfit is {figure:.2f} times that of shot noise; the map of the fit shows where in the scan. If "
            f"scan or stage moved, refine them: {' '.join(left)}."
        )
    if choices.probe.modes == 1:
        lines.append(
            "If the difference of measured and modelled patterns is largest at the edge of the bright disk, the "
            "source is not a point: try reconstruction.probe.modes=2."
        )
    if config.volume.num_slices is None:
        lines.append(
            "If the difference grows with the scattering angle, slices may be too thick: try a smaller "
            "volume.slice_thickness."
        )
    return lines


def _worth_refining(content: ReportContent, config: Config) -> list[str]:
    """Return the settings that refine what is not refined yet, and is not known to be right."""
    angle = number(content.analysis, "poses", "max_angle_error_deg")
    translation = number(content.analysis, "poses", "max_translation_error_A")
    right = {
        "positions": _simulated_as_reported(config),
        "angles": angle is not None and angle < EXACT,
        "translations": translation is not None and translation < EXACT,
    }
    return [
        f"reconstruction.{name}.from_epoch=3"
        for name, known in right.items()
        if getattr(config.reconstruction, name).from_epoch is None and not known
    ]


def _simulated_as_reported(config: Config) -> bool:
    """Return whether the series is a simulation whose scan positions are those that it reports."""
    if config.simulation is None:
        return False
    scan, experiment = config.simulation.scan, config.simulation.experiment
    moved = scan.jitter or any(scan.drift) or scan.reported_rotation is not None
    return not moved and experiment == type(experiment)()


def _trust(content: ReportContent, config: Config) -> list[str]:
    lines = []
    if text(content.analysis, "reference") is None and content.truth is None:
        lines.append(
            "Nothing tells yet how far the volume can be trusted: `dptt run` with analysis.half_sets=true "
            "reconstructs two independent halves of the patterns and compares them."
        )
    worst = text(content.analysis, "worst_direction", "name")
    if worst == "z":
        lines.append(
            "Resolution is worst along the beam, where the missing wedge is: a larger tilt range improves it."
        )
    return lines
