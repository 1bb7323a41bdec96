"""How all figures look: size, type, colours, scale bars, colour limits."""

import io
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

WIDTH = 10.0
"""Of every figure [inch]; at `DPI` it fits a laptop."""

DPI = 108

STYLE: Any = {  # rcParams
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.labelsize": 9.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": "0.9",
    "lines.linewidth": 1.6,
    "figure.facecolor": "white",
    "image.interpolation": "nearest",  # a voxel is shown as a voxel
}

# Okabe & Ito, distinct for every kind of colour vision
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)

AXIS_NAMES = {"z": "z, beam", "y": "y, tilt axis", "x": "x"}
MINUS = "\u2212"


def new_figure(height: float) -> Figure:
    """Empty figure, `WIDTH` by height [inch], whose parts are kept apart automatically."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def to_png(draw: Callable[[], Figure]) -> bytes:
    """PNG of the figure that a function draws in the house style."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        draw().savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def signed(value: float, digits: int = 1) -> str:
    """Number with a typographic minus sign."""
    rounded = f"{value:.{digits}f}"
    return (MINUS + rounded[1:] if float(rounded) else rounded[1:]) if rounded.startswith("-") else rounded


def length_label(length: float) -> str:
    """Length [Å] as a person writes it: in Å below a nanometre, in nm above."""
    return f"{length / 10:g} nm" if length >= 10 else f"{length:g} Å"


def robust_limits(values: NDArray[np.floating], low: float = 0.2, high: float = 99.8) -> tuple[float, float]:
    """Colour limits that a few extreme pixels do not decide: percentiles of the finite values, never equal."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    bottom, top = (float(v) for v in np.percentile(finite, [low, high]))
    if top <= bottom:
        bottom, top = float(finite.min()), float(finite.max())
    return (bottom, top) if top > bottom else (bottom - 0.5, bottom + 0.5)


def scale_bar_length(extent: float) -> float:
    """The largest of 1, 2, 5, 10, … not above a third of the extent [Å]."""
    largest = extent / 3 * (1 + 1e-9)
    decade = 10.0 ** np.floor(np.log10(largest))
    return float(max(step * decade for step in (1, 2, 5) if step * decade <= largest))


def draw_scale_bar(axes: Axes, length: float | None = None) -> float:
    """Draw a bar, its length written above it, into axes whose coordinates are Å; return the length [Å]."""
    left, right = sorted(axes.get_xlim())
    top, bottom = axes.get_ylim()[::-1]  # y grows downwards
    if length is None:
        length = scale_bar_length(right - left)
    width, height = right - left, bottom - top
    thickness = 0.022 * abs(height)
    x, y = left + 0.05 * width, bottom - 0.07 * height
    bar = Rectangle((x, y), length, thickness, facecolor="white", edgecolor="black", linewidth=0.6, zorder=5)
    bar.set_gid("scale-bar")
    axes.add_patch(bar)
    label = axes.text(x + length / 2, y - 0.02 * height, length_label(length), color="white", ha="center", zorder=5)
    label.set_path_effects([withStroke(linewidth=2, foreground="black")])
    return length


def mark_spacings(axes: Axes) -> None:
    """Write the spacings [Å] that belong to the frequencies [1/Å] along the top of the axes."""
    low, high = axes.get_xlim()
    choices = np.array([20, 10, 5, 4, 3, 2.5, 2, 1.5, 1.2, 1, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2])
    ticks: list[float] = []
    for spacing in choices[(1 / choices > max(low, 0)) & (1 / choices < high)]:
        if not ticks or 1 / spacing - 1 / ticks[-1] > 0.06 * (high - low):
            ticks.append(float(spacing))
    top = axes.secondary_xaxis("top")
    top.set_xticks([1 / spacing for spacing in ticks], [f"{spacing:g}" for spacing in ticks])
    top.tick_params(labelsize=8, color="0.5", labelcolor="0.35")
    top.set_xlabel("spacing [Å]", fontsize=8, color="0.35")
