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
    refined = {
        "reconstruction.positions.from_epoch=3": choices.positions.from_epoch,
        "reconstruction.angles.from_epoch=3": choices.angles.from_epoch,
        "reconstruction.translations.from_epoch=3": choices.translations.from_epoch,
    }
    left = [setting for setting, epoch in refined.items() if epoch is None]
    lines = []
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
