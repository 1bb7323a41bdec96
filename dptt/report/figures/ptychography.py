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
    names = list(images)
    if len(names) > MAX_IMAGES:
        names = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, MAX_IMAGES).astype(int))]
    illuminated = np.any([illumination > MIN_ILLUMINATION for _, illumination in images.values()], axis=0)
    rows, columns = (slice(indices.min(), indices.max() + 1) for indices in np.nonzero(illuminated))
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
