"""Figures of an alignment: shifts and rotations of every tilt, remaining misfit, sinogram and volume."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dptt.report.drawing import BLACK, BLUE, GREEN, ORANGE, VERMILION, new_figure, robust_limits

Lines = tuple[NDArray[np.floating], NDArray[np.floating]]
"""Of all tilts, the central rows of their images (tilt, x), and their means over x (tilt, y)."""
ANGLES = (("phi, about x", GREEN), ("theta, about y", BLUE), ("psi, about z", ORANGE))


def misfit_figure(
    theta: NDArray[np.floating], misfits: NDArray[np.floating], weights: NDArray[np.floating], names: Sequence[str]
) -> Figure:
    """Misfit of every tilt against the volume of the others; tilts with a reduced weight are marked by name."""
    figure = new_figure(3.0)
    axes = figure.subplots()
    order = np.argsort(theta)
    axes.plot(theta[order], misfits[order], "o-", color=BLACK, markersize=4)
    for tilt in np.flatnonzero(weights < 1).tolist():
        axes.plot(theta[tilt], misfits[tilt], "o", color=VERMILION, zorder=3)
        label = f"{names[tilt]}: weight {100 * weights[tilt]:.0f} %"
        axes.annotate(label, (theta[tilt], misfits[tilt]), (0, 6), textcoords="offset points", ha="center")
    axes.set(
        xlabel="tilt angle theta [°]", ylabel="|model − image| / |image|", title="Misfit by tilt", ylim=(0, None)
    )
    axes.margins(y=0.15)
    axes.grid(True)
    return figure


def change_figure(
    nominal_angles: NDArray[np.floating],
    angles: NDArray[np.floating],
    nominal_translations: NDArray[np.floating],
    translations: NDArray[np.floating],
) -> Figure:
    """Aligned less nominal translations [Å] and Euler angles [°] (tilts, ...) against the nominal tilt angle."""
    figure = new_figure(3.4)
    shifts, rotations = figure.subplots(1, 2)
    order = np.argsort(nominal_angles[:, 1])
    theta = nominal_angles[order, 1]
    for values, label, colour in zip(
        (translations - nominal_translations)[order].T, "yx", (BLUE, ORANGE), strict=True
    ):
        shifts.plot(theta, values, "o-", color=colour, markersize=3, label=label)
    for values, (label, colour) in zip((angles - nominal_angles)[order].T, ANGLES, strict=True):
        rotations.plot(theta, values, "o-", color=colour, markersize=3, label=label)
    shifts.set(xlabel="nominal tilt angle [°]", ylabel="aligned − nominal [Å]", title="Translations")
    rotations.set(xlabel="nominal tilt angle [°]", ylabel="aligned − nominal [°]", title="Euler angles")
    for axes in (shifts, rotations):
        axes.axhline(0, color="0.7", linewidth=0.8, zorder=0)
        axes.legend()
    return figure


def sinogram_figure(before: Lines, after: Lines, theta: NDArray[np.floating], pixel_size: float) -> Figure:
    """Rows (tilt, x) and profiles along the axis (tilt, y), before and after the alignment.

    A good alignment makes the curves across the axis smooth and the lines along it straight.

    `before` and `after` are the central rows of the images (tilt, x) in the frame of the tilt axis, and their means
    over x (tilt, y).
    """
    figure = new_figure(6.4)
    panels = figure.subplots(2, 2)
    order = np.argsort(theta)
    for column, (title, (rows, profiles)) in enumerate(
        (("Before the alignment", before), ("After the alignment", after))
    ):
        for row, (label, lines) in enumerate(
            (
                ("x [Å], across the tilt axis (central row)", rows[order]),
                ("y [Å], along the tilt axis (mean over x)", profiles[order]),
            )
        ):
            half = lines.shape[1] / 2 * pixel_size
            low, high = robust_limits(lines)
            axes = panels[row, column]
            across = np.linspace(-half, half, lines.shape[1] + 1)
            axes.pcolormesh(across, _edges(theta[order]), lines, cmap="gray", vmin=low, vmax=high, rasterized=True)
            axes.set(xlabel=label, ylabel="tilt angle [°]", title=title if row == 0 else "")
    return figure


def _edges(ascending: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the limits half way between angles [°], so that each has its own place on the axis."""
    if len(ascending) < 2:
        return np.array([ascending[0] - 0.5, ascending[0] + 0.5])
    between = (ascending[1:] + ascending[:-1]) / 2
    return np.concatenate([[2 * ascending[0] - between[0]], between, [2 * ascending[-1] - between[-1]]])


def slice_figure(volume: NDArray[np.floating], voxel_size: float) -> Figure:
    """The three central slices of a volume (z, y, x) [V], each on its own grey scale."""
    figure = new_figure(3.8)
    z, y, x = (n // 2 for n in volume.shape)
    slices = (
        ("z = 0", volume[z], "x", "y"),
        ("y = 0 (across the tilt axis)", volume[:, y], "x", "z"),
        ("x = 0", volume[:, :, x].T, "z", "y"),
    )
    for axes, (title, image, across, down) in zip(figure.subplots(1, 3), slices, strict=True):
        low, high = robust_limits(image)
        height, width = (n / 2 * voxel_size for n in image.shape)
        axes.imshow(image, extent=(-width, width, height, -height), cmap="gray", vmin=low, vmax=high)
        axes.set(title=title, xlabel=f"{across} [Å]", ylabel=f"{down} [Å]")
    return figure
