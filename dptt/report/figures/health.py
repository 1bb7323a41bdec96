"""Figures of the quality of every tilt: how well the volume explains it, its exposure and its drift."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dptt.report.content import column
from dptt.report.drawing import BLACK, BLUE, GREEN, ORANGE, SKY, VERMILION, new_figure
from dptt.report.figures.convergence import tilt_angles

PANELS = (
    ("figure_of_fit", "Figure of fit", "loss / shot noise", BLACK),
    ("alignment_residual", "Alignment residual", "|model − image| / |image|", BLUE),
    ("fluence_e_A2", "Fluence", "fluence [e/Å²]", GREEN),
    ("drift_A", "Drift during the scan", "drift [Å]", ORANGE),
)
"""Key, title, label of the vertical axis, colour."""


def health_figure(tilts: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss of each tilt with that of shot noise, its weight and the `PANELS` that are known, against its angle."""
    angle, known = tilt_angles(tilts, len(tilts))
    order = np.argsort(angle)
    panels = [panel for panel in PANELS if np.any(np.nan_to_num(column(tilts, panel[0])) > 0)]
    figure = new_figure(3.1 + 1.7 * (len(panels) > 0))
    grid = figure.add_gridspec(1 + (len(panels) > 0), max(len(panels), 1), height_ratios=[1.7, 1][: 1 + bool(panels)])
    axes = figure.add_subplot(grid[0, :])
    loss, noise, weight = (column(tilts, key)[order] for key in ("loss", "shot_noise_loss", "weight"))
    axes.plot(angle[order], loss, "o-", color=BLACK, markersize=4, label="loss")
    if np.isfinite(noise).any():
        axes.plot(angle[order], noise, "--", color=SKY, label="shot noise alone")
    reduced = weight < 1
    axes.plot(angle[order][reduced], loss[reduced], "o", color=VERMILION, markersize=8, label="weight reduced")
    for theta, value, factor in zip(angle[order][reduced], loss[reduced], weight[reduced], strict=True):
        label = f"weight {100 * factor:.0f} %"
        axes.annotate(label, (theta, value), (0, 7), textcoords="offset points", color=VERMILION, ha="center")
    axes.set(xlabel="tilt angle theta [°]" if known else "tilt", ylabel="loss per electron", title="Loss by tilt")
    axes.set_ylim(0, 1.15 * float(np.nanmax(loss)))
    axes.grid(True)
    axes.legend()
    for i, (key, title, label, colour) in enumerate(panels):
        panel = figure.add_subplot(grid[1, i])
        panel.plot(angle[order], column(tilts, key)[order], "o-", color=colour, markersize=3)
        panel.set(xlabel="theta [°]" if known else "tilt", ylabel=label, title=title)
        panel.set_ylim(0, 1.15 * float(np.nanmax(column(tilts, key))))
        panel.grid(True)
    return figure
