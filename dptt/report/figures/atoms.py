"""Figures of traced atoms, drawn over the volume in which they were traced."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dptt.report import planes
from dptt.report.content import VoxelSize, number, numbers
from dptt.report.drawing import BLACK, SKY, VERMILION, YELLOW, new_figure, robust_limits

SLAB = 1.0  # atoms within this distance of a slice are drawn on it [Å]
MAX_PROJECTED = 500  # more atoms than this would hide the projection
DETAIL = 40.0  # edge of the central region that is enlarged where there are many atoms [Å]
RING = 0.9  # radius of the ring about an atom [Å], if there is room


@dataclass(frozen=True)
class AtomGroup:
    """Atoms that are drawn alike."""

    label: str
    positions: NDArray[np.float64]
    marker: str
    colour: str
    filled: bool = False


def atom_groups(atoms: Any, true_atoms: NDArray[np.floating] | None = None) -> list[AtomGroup]:
    """Return matched, false and missed atoms where ``analysis["atoms"]`` holds a match, else peaks and true atoms."""
    traced = _positions(numbers(atoms, "positions"))
    true = _positions(true_atoms)
    missed, false = _unpaired(atoms, len(traced), len(true))
    if false is None:
        groups = [*_by_significance(atoms, traced), AtomGroup("true", true, "+", YELLOW, True)]
    else:
        groups = [
            AtomGroup("matched", traced[~false], "o", SKY),
            AtomGroup("false", traced[false], "s", VERMILION),
        ]
        if missed is not None:
            groups.append(AtomGroup("missed", true[missed], "^", YELLOW))
    return [group for group in groups if len(group.positions)]


def _by_significance(atoms: Any, traced: NDArray[np.float64]) -> list[AtomGroup]:
    significance, level = numbers(atoms, "significance"), number(atoms, "noise", "level")
    if level is None or significance is None or len(significance) != len(traced):
        return [AtomGroup("traced", traced, "o", SKY)]
    significant = ~(significance <= level)  # null stands for infinity: the volume has no noise
    return [
        AtomGroup("significant", traced[significant], "o", SKY),
        AtomGroup("not significant", traced[~significant], "s", VERMILION),
    ]


def _positions(values: NDArray[np.floating] | None) -> NDArray[np.float64]:
    if values is None or values.ndim != 2 or values.shape[1] != 3:
        return np.zeros((0, 3))
    return np.asarray(values, dtype=float)


def _unpaired(
    atoms: Any, num_traced: int, num_true: int
) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
    """Which true atoms were missed and which traced ones are false; None where the match does not say."""
    pairs = numbers(atoms, "match", "pairs")
    if pairs is not None and pairs.ndim == 2 and pairs.shape[1] == 2:
        traced, true = pairs.astype(int).T
        if traced.max() < num_traced:
            is_missed = ~np.isin(np.arange(num_true), true) if num_true > true.max() else None
            return is_missed, ~np.isin(np.arange(num_traced), traced)
    match = atoms.get("match") if hasattr(atoms, "get") else None
    if not isinstance(match, dict) or "false_positive" not in match:
        return None, None
    missed, false = (np.array(match.get(key) or [], dtype=int) for key in ("missed", "false_positive"))
    is_missed = np.isin(np.arange(num_true), missed) if num_true > missed.max(initial=-1) else None
    return is_missed, np.isin(np.arange(num_traced), false)


def atom_figure(potential: NDArray[np.floating], voxel_size: VoxelSize, groups: list[AtomGroup]) -> Figure:
    """Draw atoms near the densest slices [V] over these and, unless too many, all atoms over projections [V·Å]."""
    indices = planes.densest_indices(potential)
    title = f"Densest slices, with what lies within {SLAB:g} Å of them"
    densest = planes.Row(title, planes.slices(potential, indices), planes.POTENTIAL)
    rows = [densest]
    if sum(len(group.positions) for group in groups) <= MAX_PROJECTED:
        projected = planes.projections(potential, voxel_size)
        title, scales = "Projections, with all positions", [robust_limits(plane) for plane in projected]
        rows = [
            planes.Row(title, projected, planes.PROJECTED_POTENTIAL, limits=scales),
            densest,
        ]
    figure, grid = planes.draw_rows(rows, voxel_size, cmap="gray", lines_at=None)
    for in_slab, row in zip((False, True)[-len(rows) :], grid, strict=True):
        for across, axes in enumerate(row):
            depth = (indices[across] - potential.shape[across] // 2) * voxel_size[across]
            for group in groups:
                near = np.abs(group.positions[:, across] - depth) <= SLAB if in_slab else slice(None)
                _draw_group(axes, group, group.positions[near], across, figure)
    handles, labels = grid[0][0].get_legend_handles_labels()
    legend = figure.legend(
        handles, labels, loc="upper right", ncols=len(labels), markerscale=0.6, frameon=True, facecolor="0.25"
    )
    for entry in legend.get_texts():
        entry.set_color("white")
    return figure


def detail(
    potential: NDArray[np.floating], voxel_size: VoxelSize, groups: list[AtomGroup]
) -> tuple[NDArray[np.floating], list[AtomGroup]] | None:
    """Return the central `DETAIL` of the volume and its atoms, positions unchanged.

    None where the atoms are few or the volume is not much larger.
    """
    if sum(len(group.positions) for group in groups) <= MAX_PROJECTED:
        return None
    half = [
        min(int(DETAIL / 2 / d), n // 2, n - 1 - n // 2) for n, d in zip(potential.shape, voxel_size, strict=True)
    ]
    centre = potential[tuple(slice(n // 2 - h, n // 2 + h + 1) for n, h in zip(potential.shape, half, strict=True))]
    if centre.size > 0.5 * potential.size:
        return None
    edge = (np.array(half) + 0.5) * voxel_size
    inside = [np.all(np.abs(group.positions) < edge, axis=1) for group in groups]
    kept = [replace(g, positions=g.positions[i]) for g, i in zip(groups, inside, strict=True) if i.any()]
    return centre, kept


def _draw_group(axes: Axes, group: AtomGroup, positions: NDArray[np.float64], across: int, figure: Figure) -> None:
    row, column = ((1, 2), (0, 2), (1, 0))[across]
    left, right = axes.get_xlim()
    points_per_length = axes.get_position().width * figure.get_figwidth() * 72 / (right - left)
    diameter = float(np.clip(2 * RING * points_per_length, 3.5, 16))
    axes.scatter(
        positions[:, column],
        positions[:, row],
        s=diameter**2,
        marker=group.marker,
        facecolors=group.colour if group.filled else "none",
        edgecolors=None if group.filled else group.colour,
        linewidths=1.3 if diameter > 6 else 0.8,
        label=f"{group.label} ({len(group.positions)})",
        clip_on=True,
    )


def peak_figure(atoms: Any) -> Figure:
    """Fitted heights of the traced atoms [V] in falling order, and their histogram.

    The threshold is not drawn: it applies to the band-passed potential, whose peaks are lower.
    """
    heights = numbers(atoms, "heights")
    assert heights is not None
    heights = np.sort(heights[np.isfinite(heights)])[::-1]
    figure = new_figure(2.6)
    ranks, histogram = figure.subplots(1, 2)
    ranks.plot(np.arange(1, len(heights) + 1), heights, "o-", color=BLACK, markersize=3, linewidth=1)
    ranks.set(xlabel="peak, in order of height", ylabel="peak height [V]", title="Peak heights", ylim=(0, None))
    histogram.hist(heights, bins=min(40, max(8, len(heights) // 6)), color="0.55")
    histogram.set(xlabel="peak height [V]", ylabel="number of peaks", title="Distribution", xlim=(0, None))
    return figure


def error_figure(errors: NDArray[np.floating], ratios: NDArray[np.floating] | None = None) -> Figure:
    """Histogram of the standard errors (atom, 3) of z, y and x [Å].

    `ratios`, of the same columns, are (fitted - true) / standard error where the truth is known.
    """
    figure = new_figure(2.6)
    histogram, *further = figure.subplots(1, 1 if ratios is None else 2, squeeze=False)[0]
    finite = errors[np.isfinite(errors)]
    bins = np.linspace(0, 1.05 * finite.max(), 40) if finite.size else np.linspace(0, 1, 2)
    _by_axis(histogram, np.asarray(errors), bins, "zyx")
    histogram.set(
        xlabel="standard error [Å]", ylabel="number of atoms", title="Errors of fitted atoms", xlim=(0, None)
    )
    histogram.legend()
    for against in further:
        assert ratios is not None
        bins = np.linspace(-4, 4, 25)
        scatter = np.sqrt(np.nanmean(ratios**2, axis=0))
        names = [f"{axis}: rms {value:.2f}" for axis, value in zip("zyx", scatter, strict=True)]
        _by_axis(against, np.clip(ratios, bins[0], bins[-1]), bins, names)
        normal = np.exp(-(bins**2) / 2) / np.sqrt(2 * np.pi)
        against.plot(bins, len(ratios) * (bins[1] - bins[0]) * normal, color="0.5", linewidth=2, label="normal")
        against.set(xlabel="(fitted - true) / standard error", ylabel="number of atoms", title="Against the truth")
        against.legend()
    return figure


def _by_axis(axes: Axes, values: NDArray[np.floating], bins: NDArray[np.floating], names: str | list[str]) -> None:
    for along, name, colour in zip(values.T, names, (VERMILION, BLACK, SKY), strict=True):
        axes.hist(along[np.isfinite(along)], bins=bins, histtype="step", color=colour, label=name)  # type: ignore[arg-type]
