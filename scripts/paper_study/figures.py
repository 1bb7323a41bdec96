"""The panels of [P] figures 2 and 3, in the style of the reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dptt.analysis.correlation import FourierShellCorrelation
from dptt.analysis.spectrum import PowerSpectrum
from dptt.report.drawing import BLACK, BLUE, GREEN, ORANGE, SKY, VERMILION, draw_scale_bar, mark_spacings, new_figure

COLOURS = (BLUE, VERMILION, GREEN, ORANGE, SKY, BLACK)
ATOMS = {78: ("Pt", VERMILION), 13: ("Al", SKY), 8: ("O", GREEN)}


@dataclass(frozen=True)
class Picture:
    """A plane of a volume [V], its pixel (vertical, horizontal) [Å], and atoms in it (vertical, horizontal) [Å]."""

    values: np.ndarray
    pixel: tuple[float, float]
    atoms: Mapping[int, np.ndarray]


def alignment_figure(
    true: np.ndarray, steps: Mapping[str, np.ndarray], errors: Mapping[str, np.ndarray], paper: tuple[float, float]
) -> Figure:
    """Draw lines from the true translations (tilt, 2) to those of each step, and the sorted errors ([P] fig. 2a)."""
    figure = new_figure(4.2)
    shifts, lengths = figure.subplots(1, 2)
    shifts.plot(true[:, 1], true[:, 0], "o", mfc="none", color=BLACK, label="truth")
    for (name, translations), colour in zip(steps.items(), COLOURS, strict=False):
        shifts.plot(translations[:, 1], translations[:, 0], ".", color=colour, label=name)
        for start, stop in zip(true, translations, strict=True):
            shifts.plot([start[1], stop[1]], [start[0], stop[0]], color=colour, linewidth=0.8)
        share = np.arange(1, len(translations) + 1) / len(translations)
        lengths.plot(np.sort(np.linalg.norm(errors[name], axis=1)), share, ".-", color=colour, label=name)
    lengths.plot(paper, (0.5, 1.0), "x", color=BLACK, markersize=8, label="[P], alignment")
    shifts.set(xlabel="shift along x [Å]", ylabel="shift along y [Å]", aspect="equal", title="Shifts of the tilts")
    lengths.set(xlabel="error [Å]", ylabel="share of the tilts", xlim=(0, None), ylim=(0, 1.03), title="Errors")
    shifts.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    lengths.legend(loc="lower right")
    return figure


def pictures_figure(pictures: Mapping[str, Picture], ylabel: str) -> Figure:
    """Draw planes side by side, with rings around atoms in the colour of the element ([P] fig. 2b-d).

    Grey shows the square root of the potential, so that light atoms are visible next to heavy ones.
    """
    figure = new_figure(3.9 if len(pictures) < 4 else 3.0)
    panels = np.atleast_1d(figure.subplots(1, len(pictures)))
    for axes, (title, picture) in zip(panels, pictures.items(), strict=True):
        axes.imshow(
            np.sqrt(np.clip(picture.values, 0, np.percentile(picture.values, 99.8))),
            cmap="gray",
            extent=_extent(picture),
            interpolation="bicubic",
        )
        for number, positions in picture.atoms.items():
            axes.plot(positions[:, 1], positions[:, 0], "o", mfc="none", ms=8, mew=0.8, color=ATOMS[number][1])
        left, right, bottom, top = _extent(picture)
        axes.set(title=title, xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
        draw_scale_bar(axes)
    panels[0].set_ylabel(ylabel)
    elements = {number for picture in pictures.values() for number in picture.atoms}
    rings = [
        Line2D([], [], marker="o", mfc="none", ls="", color=colour, label=name)
        for number, (name, colour) in ATOMS.items()
        if number in elements
    ]
    if rings:
        figure.legend(handles=rings, loc="outside lower center", ncols=len(rings))
    return figure


def _extent(picture: Picture) -> tuple[float, float, float, float]:
    """Return the edges (left, right, bottom, top) [Å] of a picture whose pixel n//2 is at 0, z or y downwards."""
    (rows, columns), (height, width) = picture.values.shape, picture.pixel
    left, top = -(columns // 2 + 0.5) * width, -(rows // 2 + 0.5) * height
    return left, left + columns * width, top + rows * height, top


def spectra_figure(spectra: Mapping[str, PowerSpectrum], peaks: Sequence[float]) -> Figure:
    """Draw mean powers, with lines at the lattice spacings `peaks` [Å] ([P] fig. 3d)."""
    figure = new_figure(4.0)
    axes = figure.subplots()
    for (name, spectrum), colour in zip(spectra.items(), COLOURS, strict=False):
        axes.semilogy(spectrum.frequency[1:], spectrum.mean_power[1:], color=colour, label=name)
    for spacing in peaks:
        axes.axvline(1 / spacing, color="0.8", linewidth=0.9, zorder=0)
    axes.set(xlabel="spatial frequency [1/Å]", ylabel="mean power [V²·Å⁶]")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    mark_spacings(axes)
    return figure


def half_set_figure(curves: Mapping[str, FourierShellCorrelation]) -> Figure:
    """Draw Fourier shell correlations of half-sets with the one-bit threshold ([P] fig. 3e)."""
    figure = new_figure(4.0)
    axes = figure.subplots()
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        axes.plot(curve.frequency, curve.correlation, color=colour, label=name)
    first = next(iter(curves.values()))
    axes.plot(first.frequency, first.threshold("one-bit"), "-.", color="0.4", label="one-bit threshold")
    axes.axhline(0, color="0.7", linewidth=0.8)
    axes.set(xlabel="spatial frequency [1/Å]", ylabel="Fourier shell correlation", ylim=(-0.1, 1.04))
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    mark_spacings(axes)
    return figure
