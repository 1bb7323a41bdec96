"""Figures of resolution: Fourier shell correlation over all directions and by direction."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes
from numpy.typing import NDArray

from dptt.report.content import curve, find, number, numbers, text
from dptt.report.drawing import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, YELLOW, mark_spacings, new_figure

AXIS_COLOURS = {"z": VERMILION, "y": GREEN, "x": BLUE}
OTHERS = (ORANGE, SKY, PURPLE, YELLOW)
CURVES = {"one_bit": ("one-bit", VERMILION), "half_bit": ("half-bit", PURPLE)}
LEVELS = {"0.5": ORANGE, "0.143": BLUE}


def fsc_figure(analysis: Any, title: str = "Fourier shell correlation") -> Figure:
    """FSC against frequency, with its thresholds and the crossings."""
    measured = curve(find(analysis, "fsc"), "frequency", "correlation")
    assert measured is not None
    frequency, correlation = measured
    figure = new_figure(3.6)
    axes = figure.subplots()
    axes.axhline(0, color="0.7", linewidth=0.8)
    axes.plot(frequency, correlation, color=BLACK, linewidth=2, label="FSC")
    for key, label, style in (("uncorrected", "not corrected", ":"), ("randomised", "phases randomised", "--")):
        extra = curve(find(analysis, "fsc"), "frequency", key)
        if extra is not None:
            axes.plot(*extra, color="0.6", linestyle=style, linewidth=1.2, label=label)
    for level, colour in LEVELS.items():
        axes.axhline(float(level), color=colour, linestyle="--", linewidth=1.1, label=_label(analysis, level))
    for key, (name, colour) in CURVES.items():
        threshold = curve(find(analysis, "fsc"), "frequency", key)
        if threshold is not None:
            axes.plot(*threshold, color=colour, linestyle="-.", linewidth=1.1, label=_label(analysis, name))
    for name, colour in (*LEVELS.items(), *CURVES.values()):
        _mark_crossing(axes, find(analysis, "resolution", name), frequency, correlation, colour)
    axes.set(
        xlabel="spatial frequency [1/Å]",
        ylabel="Fourier shell correlation",
        title=title,
        xlim=(0, float(np.nanmax(frequency))),
        ylim=(min(-0.08, float(np.nanmin(correlation, initial=0)) - 0.03), 1.04),
    )
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    mark_spacings(axes)
    return figure


def _label(analysis: Any, criterion: str) -> str:
    value = resolution_text(find(analysis, "resolution", criterion))
    return criterion if value is None else f"{criterion}: {value}"


def resolution_text(resolution: Any) -> str | None:
    """Return ``1.23 Å``, ``≤ 0.80 Å (voxel limit)`` or ``not resolved``; None if the resolution was not measured."""
    if not isinstance(resolution, dict):
        return None
    length = number(resolution, "resolution_A")
    if length is None:
        return "not resolved"
    return f"≤ {length:.2f} Å (voxel limit)" if resolution.get("at_nyquist") else f"{length:.2f} Å"


def _mark_crossing(
    axes: Axes, resolution: Any, frequency: NDArray[np.float64], correlation: NDArray[np.float64], colour: str
) -> None:
    length = number(resolution, "resolution_A")
    if length is None or find(resolution, "at_nyquist"):
        return
    crossing = 1 / length
    axes.plot(crossing, np.interp(crossing, frequency, correlation), "o", color=colour, markersize=6, zorder=4)


def directional_figure(entries: Sequence[Any]) -> Figure:
    """FSC by direction, and the resolution: as a polar plot across the tilt axis, or as bars for few directions."""
    figure = new_figure(3.9)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.25, 1))[0]
    _draw_directional_curves(left.subplots(), entries)
    points = [point for entry in entries if (point := _polar_point(entry)) is not None]
    if len(points) >= 4:
        _draw_polar(right.subplots(subplot_kw={"projection": "polar"}), points)
    else:
        _draw_bars(right.subplots(), entries)
    return figure


def _draw_directional_curves(axes: Axes, entries: Sequence[Any]) -> None:
    named = [e for e in entries if text(e, "name") in AXIS_COLOURS]
    coloured = named if named else list(entries[: len(OTHERS)])
    other_colours = iter(OTHERS)
    highest, grey_drawn = 0.0, False
    for entry in [e for e in entries if not any(e is c for c in coloured)] + coloured:
        measured = curve(entry, "frequency", "correlation")
        if measured is None:
            continue
        name = text(entry, "name") or "direction"
        if any(entry is c for c in coloured):
            colour = AXIS_COLOURS.get(name) or next(other_colours)
            label = f"{name}: {resolution_text(entry) or 'not measured'}"
            axes.plot(*measured, color=colour, label=label)
        else:
            axes.plot(*measured, color="0.8", linewidth=0.9, label=None if grey_drawn else "other directions")
            grey_drawn = True
        highest = max(highest, float(np.nanmax(measured[0])))
    axes.axhline(0, color="0.7", linewidth=0.8)
    axes.set(
        xlabel="spatial frequency along the direction [1/Å]",
        ylabel="FSC within a cone",
        title="Fourier shell correlation by direction",
        ylim=(-0.15, 1.04),
    )
    if highest > 0:
        axes.set_xlim(0, highest)
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.2), ncols=2)
        mark_spacings(axes)


def _polar_point(entry: Any) -> tuple[float, float, bool] | None:
    """Angle [rad] from +z to +x, resolved frequency [1/Å], and whether it is Nyquist's; None outside that plane."""
    direction = numbers(entry, "direction")
    if direction is None or direction.shape != (3,) or abs(direction[1]) > 1e-6 * np.linalg.norm(direction):
        return None
    length = number(entry, "resolution_A")
    return (
        float(np.arctan2(direction[2], direction[0])),
        1 / length if length else 0.0,
        bool(find(entry, "at_nyquist")),
    )


def _draw_polar(axes: PolarAxes, points: list[tuple[float, float, bool]]) -> None:
    """Draw the resolved frequency by direction; a double cone has two ends, so each point is drawn twice."""
    angle, frequency, at_nyquist = (np.array(v) for v in zip(*points, strict=True))
    angle = np.concatenate([angle, angle + np.pi]) % (2 * np.pi)
    frequency, at_nyquist = np.tile(frequency, 2), np.tile(at_nyquist, 2)
    order = np.argsort(angle)
    order = np.append(order, order[0])
    axes.set_theta_zero_location("S")  # +z, the beam, points down as in the slices, and +x to the right
    axes.plot(angle[order], frequency[order], color=BLACK, linewidth=1.2)
    axes.plot(angle[~at_nyquist], frequency[~at_nyquist], "o", color=BLACK, markersize=4)
    if at_nyquist.any():
        axes.plot(
            angle[at_nyquist], frequency[at_nyquist], "o", mfc="white", mec=BLACK, label="limited by the voxel size"
        )
        axes.legend(loc="lower left", bbox_to_anchor=(-0.3, -0.15))
    axes.set_xticks(np.radians(np.arange(0, 360, 45)), ["+z (beam)", "", "+x", "", "−z", "", "−x", ""])
    axes.set_ylim(0, 1.08 * max(float(frequency.max()), 1e-6))
    ticks = [t for t in axes.get_yticks() if 0 < t <= frequency.max()][::2]
    axes.set_yticks(ticks, [f"{1 / t:.2g} Å" for t in ticks], fontsize=8)
    axes.set_rlabel_position(22)
    axes.set_title("Resolution across the tilt axis")


def _draw_bars(axes: Axes, entries: Sequence[Any]) -> None:
    lengths = [number(entry, "resolution_A") for entry in entries]
    names = [text(entry, "name") or "?" for entry in entries]
    place = np.arange(len(entries))
    bars = axes.barh(place, [length or 0.0 for length in lengths], color="0.55", height=0.6)
    axes.bar_label(bars, [f" {resolution_text(entry)}" for entry in entries], fontsize=8.5)
    axes.set_yticks(place, names)
    axes.set_ylim(max(len(entries), 5) - 0.5, -0.5)
    axes.set(xlabel="resolution [Å] (smaller is better)", title="Resolution by direction")
    axes.set_xlim(0, 1.45 * max([length or 0.0 for length in lengths] + [1e-6]))
