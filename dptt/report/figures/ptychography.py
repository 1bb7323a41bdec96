"""Figures of the ptychography of every tilt, before the volume."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dptt.report import planes
from dptt.report.drawing import WIDTH, draw_scale_bar, new_figure, robust_limits

COLUMNS = 6
LARGEST_NUMBER = 42
"""Images on one page; of more tilts evenly spaced ones are shown."""
DIM = 0.2
"""Pixels with less than this fraction of the largest illumination are not judged for the colours."""


def projections_figure(
    images: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]], pixel_size: tuple[float, float]
) -> Figure:
    """Projected potential [V·Å] of every tilt: title -> (projection, illumination), each with its own colours.

    The frame is cut to the area that any tilt illuminates.
    """
    names = list(images)
    if len(names) > LARGEST_NUMBER:
        names = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, LARGEST_NUMBER).astype(int))]
    lit = np.any([illumination > DIM for _, illumination in images.values()], axis=0)
    rows, columns = (slice(where.min(), where.max() + 1) for where in np.nonzero(lit))
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
        limits = robust_limits(projection[illumination > DIM])
        planes.show_plane(axes, projection[rows, columns], pixel_size, limits=limits)
        axes.set_title(name, fontsize=9)
    draw_scale_bar(grid.flat[0])
    return figure
