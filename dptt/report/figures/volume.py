"""Figures of the reconstructed volume in real space."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from dptt.report import planes
from dptt.report.content import VoxelSize
from dptt.report.drawing import OUTLINE, WIDTH, draw_scale_bar, new_figure, robust_limits, signed
from dptt.report.rendering import View, prepare, render, views, visible_edge


def absorption_figure(absorption: NDArray[np.floating], voxel_size: VoxelSize, indices: Sequence[int]) -> Figure:
    """Slices of the imaginary part of the potential [V] through a voxel (z, y, x)."""
    title = f"Absorption{_where(absorption, voxel_size, indices)}"
    row = planes.Row(title, planes.slices(absorption, indices), "imaginary part [V]")
    return planes.draw_rows([row], voxel_size, cmap="cividis", lines_at=indices)[0]


def projection_figure(
    potential: NDArray[np.floating], voxel_size: VoxelSize, truth: NDArray[np.floating] | None = None
) -> Figure:
    """Projections [V·Å] along the three axes, with those of the truth below on the same colour scales."""
    shown = {
        name: planes.projections(volume, voxel_size)
        for name, volume in (("Reconstruction", potential), ("Truth", truth))
        if volume is not None
    }
    columns = zip(*shown.values(), strict=True)
    limits = [robust_limits(np.concatenate([plane.ravel() for plane in column])) for column in columns]
    rows = [
        planes.Row(f"{name}: potential projected along z, y and x", views, planes.PROJECTED_POTENTIAL, limits)
        for name, views in shown.items()
    ]
    return planes.draw_rows(rows, voxel_size)[0]


def rendering_figure(
    potential: NDArray[np.floating], voxel_size: VoxelSize, truth: NDArray[np.floating] | None = None
) -> Figure:
    """Three-dimensional views, yellow near and blue far, with the truth below."""
    directions = views()
    volumes = [
        (n, *prepare(v, voxel_size)) for n, v in (("Reconstruction", potential), ("Truth", truth)) if v is not None
    ]
    box_diagonal = float(np.linalg.norm(np.multiply(potential.shape, voxel_size)))
    edge = min(visible_edge(volumes[0][1], volumes[0][2]), box_diagonal)
    figure = new_figure(len(volumes) * (WIDTH / len(directions) + 0.3))
    grid = figure.subplots(len(volumes), len(directions), squeeze=False)
    for row, (name, density, size) in zip(grid, volumes, strict=True):
        for axes, view in zip(row, directions, strict=True):
            image = render(density, size, view, edge)
            axes.imshow(image, extent=(-edge / 2, edge / 2, edge / 2, -edge / 2), interpolation="bilinear")
            axes.set_title(f"{name}, {view.name}")
            axes.set_axis_off()
            draw_scale_bar(axes)
            _draw_triad(axes, view, edge)
    return figure


def _draw_triad(axes: Axes, view: View, edge: float) -> None:
    """Draw foreshortened arrows along the specimen's axes in the lower right corner."""
    length, origin = 0.085 * edge, (0.33 * edge, 0.33 * edge)
    outline = [withStroke(linewidth=2, foreground=OUTLINE)]
    for name, (_, down, right) in zip(planes.AXES, view.axes.T, strict=True):
        tip = (origin[0] + length * right, origin[1] + length * down)
        if np.hypot(right, down) > 0.1:
            axes.annotate(
                "", tip, origin, arrowprops={"arrowstyle": "->", "color": "white", "shrinkA": 0, "shrinkB": 0}
            )
            label_at = (origin[0] + 1.35 * length * right, origin[1] + 1.35 * length * down)
            axes.text(*label_at, name, color="white", ha="center", va="center", path_effects=outline)


def _where(volume: NDArray[np.floating], voxel_size: VoxelSize, indices: Sequence[int]) -> str:
    """``at z = …, y = …, x = … Å``."""
    positions = [(i - n // 2) * d for i, n, d in zip(indices, volume.shape, voxel_size, strict=True)]
    return " at " + ", ".join(f"{axis} = {signed(v)}" for axis, v in zip(planes.AXES, positions, strict=True)) + " Å"
