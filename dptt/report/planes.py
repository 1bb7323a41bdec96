"""Three orthogonal planes of a volume, drawn to one scale, as used for slices, projections and atoms.

x points right and the beam, z, points down; y, the tilt axis, points down where z does not. Coordinates are Å from
voxel ``n // 2``, the rotation centre.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dptt.report.content import VoxelSize
from dptt.report.drawing import AXIS_NAMES, WIDTH, draw_scale_bar, robust_limits

Number = TypeVar("Number", bound=np.number[Any])

VIEWS = (("y", "x"), ("z", "x"), ("y", "z"))
"""Names of (rows, columns) of the planes across z, y and x."""

AXES = "zyx"
POTENTIAL, PROJECTED_POTENTIAL = "potential [V]", "projected potential [V·Å]"
"""Labels of colour bars."""
LEFT, GAP, TOP, BAR, BOTTOM = 0.75, 0.75, 0.45, 1.0, 0.1  # margins [inch]; BAR holds ticks, label and colour bar
MAX_PANEL_HEIGHT = 3.6  # [inch]
MAX_SINGLE_HEIGHT = 6.5  # [inch], of the one panel of a two-dimensional specimen


@dataclass(frozen=True)
class Row:
    """Planes across z, y and x, the last with z along its columns, as one row of a figure."""

    title: str
    planes: tuple[NDArray[np.floating], ...]
    label: str
    """Of the colour bars, with the unit."""
    limits: Sequence[tuple[float, float]] | None = None
    """Colour limits of each plane; None for the same ones for all planes of the row."""


def slices(volume: NDArray[Number], indices: Sequence[int]) -> tuple[NDArray[Number], ...]:
    """Planes (y, x), (z, x) and (y, z) through the voxel ``indices`` (z, y, x)."""
    z, y, x = indices
    return volume[z], volume[:, y], volume[:, :, x].T


def projections(volume: NDArray[np.floating], voxel_size: VoxelSize) -> tuple[NDArray[np.floating], ...]:
    """Integrals [V·Å] of a volume [V] along z, y and x, as planes (y, x), (z, x) and (y, z)."""
    along = [volume.sum(axis=axis, dtype=np.float64) * size for axis, size in enumerate(voxel_size)]
    return along[0], along[1], along[2].T


def central_indices(shape: Sequence[int]) -> tuple[int, ...]:
    """Voxel (z, y, x) of the rotation centre."""
    return tuple(n // 2 for n in shape)


def densest_indices(volume: NDArray[np.floating]) -> tuple[int, ...]:
    """For each axis the plane with the largest ``sum V²``, which cuts through atoms rather than between them."""
    along_z = np.zeros(len(volume))
    along_y_x = np.zeros(volume.shape[1:])
    for z, plane in enumerate(volume):  # one at a time, to save a second array of the volume's size
        power = np.square(plane, dtype=np.float64)
        along_z[z] = power.sum()
        along_y_x += power
    return tuple(int(np.argmax(power)) for power in (along_z, along_y_x.sum(axis=1), along_y_x.sum(axis=0)))


def plane_extent(shape: tuple[int, int], sampling: tuple[float, float]) -> tuple[float, float, float, float]:
    """Outer edges left, right, bottom, top [units of the sampling] of a plane whose pixel ``n // 2`` is at zero."""
    (top, left), (bottom, right) = (
        [(-(n // 2) - 0.5) * d for n, d in zip(shape, sampling, strict=True)],
        [(n - n // 2 - 0.5) * d for n, d in zip(shape, sampling, strict=True)],
    )
    return left, right, bottom, top


def show_plane(
    axes: Axes,
    plane: NDArray[np.floating],
    sampling: tuple[float, float],
    cmap: str = "inferno",
    limits: tuple[float, float] | None = None,
) -> AxesImage:
    """Draw a plane in physical coordinates with a scale bar."""
    low, high = robust_limits(plane) if limits is None else limits
    image = axes.imshow(plane, extent=plane_extent(plane.shape, sampling), cmap=cmap, vmin=low, vmax=high)
    for spine in axes.spines.values():
        spine.set_visible(False)
    draw_scale_bar(axes)
    axes.autoscale(False)  # markers drawn later must not change the field of view
    return image


def draw_rows(
    rows: Sequence[Row],
    voxel_size: VoxelSize,
    cmap: str = "inferno",
    lines_at: Sequence[int] | None = None,
) -> tuple[Figure, list[list[Axes]]]:
    """Draw rows of three planes to the same scale, each with a colour bar; return the figure and axes [row][view].

    A volume of one plane has only the view along the beam.

    Parameters
    ----------
    lines_at : sequence, optional
        Voxel (z, y, x) at which the planes cut each other; marked by ticks on the edges.
    """
    ny, nx = rows[0].planes[0].shape
    lengths = dict(zip(AXES, np.multiply((rows[0].planes[1].shape[0], ny, nx), voxel_size), strict=True))
    size = dict(zip(AXES, voxel_size, strict=True))
    flat = len(rows[0].planes[1]) == 1
    views = VIEWS[:1] if flat else VIEWS
    widths, heights = [lengths[c] for _, c in views], [lengths[r] for r, _ in views]
    gaps = (len(views) - 1) * GAP
    highest = MAX_SINGLE_HEIGHT if flat else MAX_PANEL_HEIGHT
    scale = min((WIDTH - LEFT - gaps - 0.2) / sum(widths), highest / max(heights))  # [inch/Å]
    row_height = TOP + scale * max(heights) + BAR
    figure_height = len(rows) * row_height + BOTTOM
    figure = Figure(figsize=(WIDTH, figure_height))
    start = LEFT + (WIDTH - LEFT - 0.2 - scale * sum(widths) - gaps) / 2

    all_axes: list[list[Axes]] = []
    for r, row in enumerate(rows):
        top, left = figure_height - r * row_height - TOP, start
        limits = row.limits or [robust_limits(np.concatenate([p.ravel() for p in row.planes]))] * len(row.planes)
        figure.text(0.1 / WIDTH, (top + 0.22) / figure_height, row.title, weight="bold", va="center")
        all_axes.append([])
        for across, (rows_name, columns_name), plane, limit in zip(AXES, views, row.planes, limits, strict=False):
            width, height = scale * lengths[columns_name], scale * lengths[rows_name]
            box = [left / WIDTH, (top - height) / figure_height, width / WIDTH, height / figure_height]
            axes = figure.add_axes((box[0], box[1], box[2], box[3]))
            image = show_plane(axes, plane, (size[rows_name], size[columns_name]), cmap, limit)
            axes.set(xlabel=f"{AXIS_NAMES[columns_name]} [Å]", ylabel=f"{AXIS_NAMES[rows_name]} [Å]")
            axes.xaxis.set_major_locator(MaxNLocator(max(2, int(width / 0.6))))
            axes.yaxis.set_major_locator(MaxNLocator(max(2, int(height / 0.4))))
            axes.set_gid(f"across-{across}")
            bar = figure.add_axes((box[0], box[1] - 0.62 / figure_height, box[2], 0.09 / figure_height))
            figure.colorbar(image, cax=bar, orientation="horizontal", label=row.label)
            bar.xaxis.set_major_locator(MaxNLocator(max(2, int(width / 0.6))))
            if lines_at is not None and not flat:
                _mark_cuts(axes, rows_name, columns_name, lines_at, size)
            all_axes[-1].append(axes)
            left += width + GAP
    return figure, all_axes


def _mark_cuts(axes: Axes, rows_name: str, columns_name: str, indices: Sequence[int], size: dict[str, float]) -> None:
    """Draw short ticks on all four edges where the planes of the other views cut this one."""
    (n_rows, n_columns) = axes.get_images()[0].get_array().shape[:2]  # type: ignore[union-attr]
    x = (indices[AXES.index(columns_name)] - n_columns // 2) * size[columns_name]
    y = (indices[AXES.index(rows_name)] - n_rows // 2) * size[rows_name]
    for span in ((0, 0.04), (0.96, 1)):
        axes.axvline(x, *span, color="white", linewidth=1)
        axes.axhline(y, *span, color="white", linewidth=1)
