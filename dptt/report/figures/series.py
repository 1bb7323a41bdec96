"""Figures of the data of a series: the mean pattern and the virtual bright-field image of a few tilts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from dptt.report.drawing import BLUE, new_figure, robust_limits, signed
from dptt.report.planes import plane_extent


@dataclass(frozen=True)
class TiltData:
    """What is drawn of one tilt.

    Attributes
    ----------
    name, theta
        Of the tilt; the stage angle [degrees].
    mean_pattern
        (ky, kx) [electrons], NaN on invalid pixels.
    positions
        (n, 2) as (y, x) [Å].
    bright_field
        (n,): electrons of each pattern inside the aperture.
    """

    name: str
    theta: float
    mean_pattern: NDArray[np.floating]
    positions: NDArray[np.floating]
    bright_field: NDArray[np.floating]


def series_figure(tilts: Sequence[TiltData], angular_sampling: tuple[float, float], semiangle: float) -> Figure:
    """Mean pattern with the aperture above, electrons in the bright disk by scan position below, a column a tilt.

    Angles are in mrad, `angular_sampling` as (y, x).
    """
    figure = new_figure(6.2)
    grid = figure.subplots(2, len(tilts), squeeze=False)
    for column, tilt in enumerate(tilts):
        _draw_pattern(grid[0, column], tilt, angular_sampling, semiangle)
        axes = grid[1, column]
        low, high = robust_limits(tilt.bright_field)
        y, x = tilt.positions.T
        size = (120 / max(np.sqrt(len(y)), 1)) ** 2
        points = axes.scatter(x, y, c=tilt.bright_field, s=size, marker="s", cmap="gray", vmin=low, vmax=high)
        axes.set(xlabel="x [Å]", ylabel="y, tilt axis [Å]", aspect="equal", title="bright field")
        axes.invert_yaxis()
        figure.colorbar(points, ax=axes, label="electrons a pattern", shrink=0.7)
    return figure


def _draw_pattern(axes: Axes, tilt: TiltData, sampling: tuple[float, float], semiangle: float) -> None:
    pattern = tilt.mean_pattern
    positive = pattern[pattern > 0]
    least, most = (float(positive.min()), float(positive.max())) if positive.size else (0.1, 1.0)
    norm = LogNorm(max(least, 1e-4 * most), max(most, least * 1.001))
    shape = (pattern.shape[0], pattern.shape[1])
    image = axes.imshow(pattern, extent=plane_extent(shape, sampling), norm=norm, cmap="inferno")
    axes.add_patch(Circle((0, 0), semiangle, fill=False, color=BLUE, linestyle="--", linewidth=1.5))
    axes.set(xlabel="kx [mrad]", ylabel="ky [mrad]", title=f"tilt {tilt.name}, {signed(tilt.theta)}°")
    assert axes.figure is not None
    axes.figure.colorbar(image, ax=axes, label="electrons a pixel", shrink=0.7)
