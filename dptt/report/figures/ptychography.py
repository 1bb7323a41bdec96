"""Figures of the ptychographic projections of every tilt, which come before the volume."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dptt.report import planes
from dptt.report.drawing import WIDTH, draw_scale_bar, new_figure, robust_limits

COLUMNS = 6
MAX_IMAGES = 42
"""In one figure; of more tilts, evenly spaced ones are shown."""
MIN_ILLUMINATION = 0.2
"""Pixels below this fraction of the maximum illumination do not affect the colour limits."""


def projections_figure(
    images: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]], pixel_size: tuple[float, float]
) -> Figure:
    """Projected potential [V·Å] of every tilt: title -> (projection, illumination), each on its own colour scale.

    The frame is cropped to the area that any tilt illuminates.
    """
    names = _spread(list(images), MAX_IMAGES)
    illuminated = np.any([illumination > MIN_ILLUMINATION for _, illumination in images.values()], axis=0)
    rows, columns = _frame(illuminated)
    height = (rows.stop - rows.start) * pixel_size[0]
    width = (columns.stop - columns.start) * pixel_size[1]
    across = min(COLUMNS, len(names))
    down = -(-len(names) // across)
    figure = new_figure(down * (WIDTH / across * height / width + 0.3))
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, names, strict=False):
        projection, illumination = images[name]
        limits = robust_limits(projection[illumination > MIN_ILLUMINATION])
        planes.show_plane(axes, projection[rows, columns], pixel_size, limits=limits)
        axes.set_title(name, fontsize=9)
    draw_scale_bar(grid.flat[0])
    return figure


def earlier_phases_figure(
    phases: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]],
    pixel_size: tuple[float, float],
    program: str,
) -> Figure:
    """Phase [rad] that another `program` found, above that of dptt: title -> (earlier, own), NaN where not compared.

    Both of a tilt have one colour scale.
    """
    names = _spread(list(phases), COLUMNS)
    rows, columns = _frame(np.any([np.isfinite(own) for _, own in phases.values()], axis=0))
    height = (rows.stop - rows.start) * pixel_size[0]
    width = (columns.stop - columns.start) * pixel_size[1]
    across = max(len(names), 3)
    figure = new_figure(2 * (WIDTH / across * height / width + 0.35))
    grid = figure.subplots(2, across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for column, name in enumerate(names):
        earlier, own = phases[name]
        limits = robust_limits(np.concatenate([part[np.isfinite(part)] for part in (earlier, own)]))
        for axes, phase, whose in zip(grid[:, column], (earlier, own), (program, "dptt"), strict=True):
            image = planes.show_plane(axes, phase[rows, columns], pixel_size, limits=limits)
            axes.set_title(f"{whose}, {name}", fontsize=9)
        bar = figure.colorbar(image, ax=list(grid[:, column]), orientation="horizontal", fraction=0.05, pad=0.02)
        bar.set_label("phase [rad]", fontsize=9)
    draw_scale_bar(grid.flat[0])
    return figure


def _frame(shown: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and columns that hold all pixels of `shown`."""
    rows, columns = (slice(indices.min(), indices.max() + 1) for indices in np.nonzero(shown))
    return rows, columns


def _spread(names: list[str], most: int) -> list[str]:
    """Return at most so many names, evenly spaced."""
    return [names[i] for i in np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).astype(int))]
