"""What of a specimen that continues beyond the scan the tilts see."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dptt.report import planes
from dptt.report.content import VoxelSize


def view_figure(potential: NDArray[np.floating], counts: NDArray[np.integer], voxel_size: VoxelSize) -> Figure:
    """Slices [V], outlined where all tilts see them (solid) and where half of them do (dashed).

    `counts` is the number of tilts that see each voxel (z, y, x).
    """
    tilts = int(counts.max())
    indices = planes.densest_indices(potential * (counts == tilts))
    row = planes.Row("Slices, and what the tilts see of them", planes.slices(potential, indices), planes.POTENTIAL)
    figure, [drawn] = planes.draw_rows([row], voxel_size, cmap="gray")
    for axes, seen in zip(drawn, planes.slices(counts, indices), strict=False):
        left, right, bottom, top = axes.get_images()[0].get_extent()
        x = np.linspace(left, right, seen.shape[1] * 2 + 1)[1::2]
        y = np.linspace(top, bottom, seen.shape[0] * 2 + 1)[1::2]
        for least, style in ((tilts, "solid"), ((tilts + 1) // 2, "dashed")):
            if (seen < least).any() and (seen >= least).any():
                axes.contour(x, y, seen, [least - 0.5], colors="#ffb000", linestyles=style, linewidths=1.4)
    return figure
