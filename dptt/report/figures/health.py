"""Figures of the health of every tilt: what the volume explains of it, how it was exposed, how far it drifted."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dptt.report.content import column
from dptt.report.drawing import BLACK, BLUE, GREEN, ORANGE, SKY, VERMILION, new_figure
from dptt.report.figures.convergence import tilt_angles

PANELS = (
    ("alignment_residual", "alignment residual", "relative", BLUE),
    ("fluence_e_A2", "fluence", "e/Å²", GREEN),
    ("drift_A", "drift in a scan", "Å", ORANGE),
)


def health_figure(tilts: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss of each tilt against shot noise, its weight, and what else is known of it, against its angle."""
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
    doubtful = weight < 1
    axes.plot(angle[order][doubtful], loss[doubtful], "o", color=VERMILION, markersize=8, label="weighted down")
    for where, value, share in zip(angle[order][doubtful], loss[doubtful], weight[doubtful], strict=True):
        axes.annotate(f"{100 * share:.0f} %", (where, value), (6, 4), textcoords="offset points", color=VERMILION)
    axes.set(
        xlabel="tilt angle theta [°]" if known else "tilt", ylabel="loss per electron", title="What is unexplained"
    )
    axes.set_ylim(0, 1.15 * float(np.nanmax(loss)))
    axes.grid(True)
    axes.legend()
    for i, (key, title, unit, colour) in enumerate(panels):
        panel = figure.add_subplot(grid[1, i])
        panel.plot(angle[order], column(tilts, key)[order], "o-", color=colour, markersize=3)
        panel.set(xlabel="theta [°]" if known else "tilt", ylabel=unit, title=title)
        panel.set_ylim(0, 1.15 * float(np.nanmax(column(tilts, key))))
        panel.grid(True)
    return figure
