"""The common look of all figures: size, fonts, colours, scale bars, colour limits."""

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib
import matplotlib.image
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from dptt.report.palette_png import palette_png

WIDTH = 10.0
"""Width of every figure [inch]; at `DPI` it fits the screen of a laptop."""

DPI = 108

HOT_PIXELS = 20
"""Number of outliers that do not affect the colour limits."""

LARGE_PNG = 300_000
"""Size from which a PNG is reduced to 256 colours [bytes]."""

LARGE_SVG = 500_000
"""Size from which a figure is a PNG in the page [bytes]: that many markers are faster and smaller as pixels."""

INK = "#1b1f24"
"""Text and axes. In an SVG it follows the colours of the page, as black and the greys of axes and grid do."""

OUTLINE = "#010101"
"""Outlines of white marks on images: black, whatever the colours of the page."""

PAGE_COLOURS = {INK: "--ink", "#000000": "--ink", "#595959": "--soft", "#b3b3b3": "--faint", "#e6e6e6": "--grid"}
"""Colour of a figure -> variable of the page's style sheet."""

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
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}

# Okabe & Ito: distinguishable with any kind of colour vision
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
    """Empty figure, `WIDTH` by height [inch], whose panels and labels do not overlap."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def to_png(draw: Callable[[], Figure]) -> bytes:
    """PNG of the figure that `draw` returns, in the common style; in 256 colours if it would be large otherwise."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        draw().savefig(buffer, format="png", dpi=DPI)
    if buffer.tell() <= LARGE_PNG:
        return buffer.getvalue()
    buffer.seek(0)
    pixels = matplotlib.image.imread(buffer, format="png")
    return palette_png(np.rint(255 * pixels[..., :3]).astype(np.uint8))


def to_svg(draw: Callable[[], Figure], name: str) -> str:
    """SVG element of the figure that `draw` returns, for a page whose style sheet has `PAGE_COLOURS`.

    Images keep their pixels and text stays text. Its identifiers begin with ``name``, so that a page can hold many.
    """
    buffer = io.StringIO()
    changes: Any = {"svg.fonttype": "none", "svg.hashsalt": name, "image.interpolation": "none"}
    with matplotlib.rc_context({**STYLE, **changes}):
        draw().savefig(buffer, format="svg", dpi=DPI, transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    opening, rest = svg[svg.index("<svg") :].split(">", 1)
    svg = re.sub(r' (?:width|height)="[^"]*"', "", opening) + ">" + rest
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # nothing refers to groups
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    for colour, variable in PAGE_COLOURS.items():
        svg = svg.replace(f": {colour}", f": var({variable})")
    return svg


def signed(value: float, digits: int = 1) -> str:
    """Number with this many decimals, a typographic minus sign, and no minus zero."""
    rounded = f"{value:.{digits}f}"
    return f"{MINUS * (float(rounded) < 0)}{rounded.lstrip('-')}"


def compact(value: float) -> str:
    """Number with four significant digits and a typographic minus sign."""
    return f"{value:.4g}".replace("-", MINUS)


def length_label(length: float) -> str:
    """Length [Å] with its unit: Å below a nanometre, nm from there on."""
    return f"{length / 10:g} nm" if length >= 10 else f"{length:g} Å"


def robust_limits(values: NDArray[np.floating], low: float = 0.2, high: float = 99.8) -> tuple[float, float]:
    """Colour limits that depend neither on a few extreme pixels nor on an empty background; they are never equal.

    They are percentiles of the finite values. A few atoms in a large box can fill less than the upper percentile
    leaves out, so the upper limit is at least half way from the median to the `HOT_PIXELS`-th highest value.
    """
    finite = values[np.isfinite(values)]  # a copy, which is sorted in place: it may be a whole volume
    if finite.size == 0:
        return 0.0, 1.0
    bottom, middle, top = (float(v) for v in np.percentile(finite, [low, 50, high], overwrite_input=True))
    rank = min(HOT_PIXELS, finite.size)
    finite.partition(finite.size - rank)
    top = max(top, middle + 0.5 * (float(finite[-rank]) - middle))
    if top <= bottom:
        bottom, top = float(finite.min()), float(finite.max())
    return (bottom, top) if top > bottom else (bottom - 0.5, bottom + 0.5)


def scale_bar_length(extent: float) -> float:
    """The largest of …, 1, 2, 5, 10, … that is at most a third of the extent [Å]."""
    largest = extent / 3 * (1 + 1e-9)
    decade = 10.0 ** np.floor(np.log10(largest))
    return float(max(step * decade for step in (1, 2, 5) if step * decade <= largest))


def draw_scale_bar(axes: Axes) -> float:
    """Draw a scale bar with its length above it into axes in Å; return the length [Å]."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    length = scale_bar_length(right - left)
    x, y = left + 0.05 * (right - left), bottom + 0.06 * (top - bottom)
    for colour, width in ((OUTLINE, 4.0), ("white", 3.0)):  # [points], the same in panels of any width
        (bar,) = axes.plot([x, x + length], [y, y], color=colour, linewidth=width, solid_capstyle="butt", zorder=5)
    bar.set_gid("scale-bar")
    outline = [withStroke(linewidth=2, foreground=OUTLINE)]
    axes.annotate(
        length_label(length),
        (x + length / 2, y),
        (0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        color="white",
        zorder=5,
        path_effects=outline,
    )
    axes.set(xlim=(left, right), ylim=(bottom, top))
    return length


def mark_spacings(axes: Axes) -> None:
    """Label the top of an axis of frequencies [1/Å] with the corresponding spacings [Å]."""
    low, high = axes.get_xlim()
    round_spacings = np.array([20, 10, 5, 4, 3, 2.5, 2, 1.5, 1.2, 1, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2])
    ticks: list[float] = []
    for spacing in round_spacings[(1 / round_spacings > max(low, 0)) & (1 / round_spacings < high)]:
        if not ticks or 1 / spacing - 1 / ticks[-1] > 0.06 * (high - low):
            ticks.append(float(spacing))
    top = axes.secondary_xaxis("top")
    top.set_xticks([1 / spacing for spacing in ticks], [f"{spacing:g}" for spacing in ticks])
    top.tick_params(labelsize=8, color="0.5", labelcolor="0.35")
    top.set_xlabel("spacing [Å]", fontsize=8, color="0.35")
