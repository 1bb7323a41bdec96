"""Figures of what was refined together with the volume: poses and scan positions."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dptt.report.content import ScanPositions, column, vectors
from dptt.report.drawing import BLUE, GREEN, ORANGE, WIDTH, new_figure

ANGLES = (("phi, about x", GREEN), ("theta, about y", BLUE), ("psi, about z", ORANGE))
MAX_ARROWS = 400
LONGEST_ARROW = 2.0  # in units of the distance between neighbouring arrows
MAX_PANELS = 4


def poses_refined(tilts: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether any Euler angle or translation differs from its initial value."""
    return not all(
        np.array_equal(vectors(tilts, key, length), vectors(tilts, f"initial_{key}", length), equal_nan=True)
        for key, length in (("euler_angles", 3), ("translation", 2))
    )


def pose_figure(tilts: Sequence[Mapping[str, Any]]) -> Figure:
    """Refined minus initial angles [°] against tilt angle, and translations (y, x) [Å] from initial to refined."""
    angles, initial = (vectors(tilts, key, 3) for key in ("euler_angles", "initial_euler_angles"))
    figure = new_figure(3.6)
    corrections, moves = figure.subplots(1, 2)
    order = np.argsort(initial[:, 1])
    difference = (angles - initial + 180) % 360 - 180
    for values, (label, colour) in zip(difference.T, ANGLES, strict=True):
        error = np.nan_to_num(column(tilts, f"{label.split(',')[0]}_error_deg"))
        corrections.errorbar(
            initial[order, 1],
            values[order],
            error[order],
            fmt="o-",
            color=colour,
            markersize=3,
            capsize=2,
            label=label,
        )
    corrections.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    corrections.set(xlabel="initial tilt angle theta [°]", ylabel="refined − initial [°]", title="Euler angles")
    corrections.legend()
    _draw_translations(moves, tilts, initial[:, 1])
    figure.colorbar(moves.collections[-1], ax=moves, label="theta [°]")
    return figure


def _draw_translations(axes: Axes, tilts: Sequence[Mapping[str, Any]], theta: NDArray[np.float64]) -> None:
    refined, initial = (vectors(tilts, key, 2) for key in ("translation", "initial_translation"))
    limits = Normalize(*_range(theta))
    colours = matplotlib.colormaps["viridis"](limits(np.nan_to_num(theta)))
    for start, end, colour in zip(initial, refined, colours, strict=True):
        axes.plot([start[1], end[1]], [start[0], end[0]], color=colour, linewidth=1)
    axes.plot(initial[:, 1], initial[:, 0], "x", color="0.6", markersize=5, label="initial")
    axes.scatter(refined[:, 1], refined[:, 0], s=18, c=theta, cmap="viridis", norm=limits, zorder=3, label="refined")
    axes.set(xlabel="x [Å]", ylabel="y (tilt axis) [Å]", title="Translations")
    axes.set_aspect("equal", adjustable="datalim")
    axes.invert_yaxis()
    axes.legend()


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def position_figure(tilts: Sequence[ScanPositions]) -> Figure:
    """Corrections of the scan positions as arrows, magnified by the factor in the title, coloured by length [Å]."""
    shown = tilts[:MAX_PANELS]
    figure = new_figure(min(WIDTH / len(shown), 4.2) + 0.3)
    lengths = [np.linalg.norm(t.refined - t.initial, axis=1) for t in shown]
    top = max(float(np.nanpercentile(length, 99)) for length in lengths) or 1e-6
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, tilt, length in zip(panels, shown, lengths, strict=True):
        drawn = np.sort(np.random.default_rng(0).permutation(len(length))[:MAX_ARROWS])
        spacing = float(np.sqrt(np.prod(np.ptp(tilt.initial, axis=0)) / len(drawn))) or 1.0
        magnification = _nice(LONGEST_ARROW * spacing / top)
        (y, x), (dy, dx) = tilt.initial[drawn].T, (tilt.refined - tilt.initial)[drawn].T * magnification
        arrows = axes.quiver(
            *(x, y, dx, dy, length[drawn]),
            angles="xy",
            scale_units="xy",
            scale=1,
            cmap="viridis",
            norm=Normalize(0, top),
            width=0.005,
        )
        rms = float(np.sqrt(np.nanmean(length**2)))
        axes.set_title(f"{tilt.name}: RMS {rms:.3f} Å\n(arrows × {magnification:g})")
        axes.set(xlabel="x [Å]")
        axes.set_aspect("equal")
        axes.margins(0.05)
        axes.invert_yaxis()
    panels[0].set_ylabel("y [Å]")
    figure.colorbar(arrows, ax=panels, label="correction [Å]", shrink=0.7, aspect=30)
    return figure


def _nice(value: float) -> float:
    """The largest of 1, 2, 5, 10, … not above the value."""
    decade = 10.0 ** np.floor(np.log10(value))
    return float(max(step * decade for step in (1, 2, 5) if step * decade <= value * (1 + 1e-9)))
