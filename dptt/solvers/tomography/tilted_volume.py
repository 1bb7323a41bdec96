"""The volume in the pose of one tilt, over all slabs: its projected slices, and their back-projection.

The volume is cut along the tilt axis y into one slab a rank (`distributed.slabs`). A rotation about y mixes only z
and x, so a slab is rotated alone; off-axis angles and translations need a halo of rows, N/2·tan(angle) and up to 24
that are interpolated. The slices are cut alike. Scan positions are shared out evenly, independent of their rows:
every rank fetches the band of slice rows under its positions, and scatters the gradient of that band to the owners.
With one slab nothing is exchanged.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Inexact, Int
from torch import Tensor

from dptt.distributed.slabs import Rows
from dptt.kernels import (
    SlabRows,
    advance_by_slices_,
    backproject_slices,
    pose_derivatives,
    project_slices,
    source_rows,
)
from dptt.model.forward import Geometry


class TiltedVolume:
    """Projections of a volume in one pose; all tensors are this rank's rows."""

    def __init__(self, map_: Float[Tensor, "3 4"], geometry: Geometry, rows: Rows) -> None:
        self.map, self.geometry, self.rows = map_, geometry, rows
        height = geometry.volume_shape[1]
        all_rows = [range(height)] * len(rows.blocks)
        cut = len(rows.blocks) > 1
        self._sources = [source_rows(map_, b, geometry.volume_shape) for b in rows.blocks] if cut else all_rows
        self._place = rows.blocks.index(rows.own)
        self._halos = halos(self._sources, rows.blocks)

    def slices(self, volume: Inexact[Tensor, "z y x"], num_slices: int) -> Inexact[Tensor, "slice y x"]:
        """Return the projected potential [V Å] of `num_slices` slices of the tilted volume."""
        thickness = self.geometry.voxel_size[0]
        slices = project_slices(volume, self.map, num_slices, thickness, self._rows_from(self.rows.own))
        for halo in self._halos:
            foreign = self.rows.fetch(volume, halo)
            if foreign.numel():
                slices += project_slices(foreign, self.map, num_slices, thickness, self._rows_from(halo[self._place]))
        return slices

    def backprojected(self, slices: Inexact[Tensor, "slice y x"]) -> Inexact[Tensor, "z y x"]:
        """Return the exact adjoint of `slices`."""
        thickness = self.geometry.voxel_size[0]
        rows = self._rows_from(self._sources[self._place])
        piece = backproject_slices(slices, self.map, self.geometry.volume_shape, thickness, rows)
        return self.rows.give_back(piece, self._sources)

    def advance_(
        self,
        volume: Inexact[Tensor, "z y x"],
        velocity: Inexact[Tensor, "z y x"],
        slices: Inexact[Tensor, "slice y x"],
        *,
        momentum: float,
        step: float,
    ) -> Float[Tensor, "2"]:
        """Move the volume by the back-projection of `slices`; see `kernels.advance_by_slices_`."""
        thickness, own = self.geometry.voxel_size[0], self._rows_from(self.rows.own)
        if self._halos:  # contributions to other ranks' rows are added to the velocity first
            velocity.mul_(momentum)
            momentum = 1.0
        for halo in self._halos:
            rows = self._rows_from(halo[self._place])
            foreign = backproject_slices(slices, self.map, self.geometry.volume_shape, thickness, rows)
            self.rows.give_back(foreign, halo, into=velocity)
        return advance_by_slices_(
            volume, velocity, slices, self.map, voxel_thickness=thickness, momentum=momentum, step=step, rows=own
        )

    def _rows_from(self, source: range) -> SlabRows:
        """Return the mapping from the rows `source` of the volume to this rank's rows of the slices."""
        return SlabRows(self.geometry.volume_shape[1], source, self.rows.own)

    def derivatives(
        self, volume: Inexact[Tensor, "z y x"], slice_gradient: Inexact[Tensor, "slice y x"]
    ) -> tuple[Float[Tensor, "3 4"], Inexact[Tensor, "3 2 y x"]]:
        """Return this rank's share of dL/d(map), and the moments of its rows; see `kernels.pose_derivatives`."""
        sources, shape = self._sources, self.geometry.volume_shape
        if len(self.rows.blocks) > 1:  # a slope needs the rows on either side, also where a value needs only one
            sources = [source_rows(self.map, block, shape, slopes=True) for block in self.rows.blocks]
        piece, rows = self.rows.fetch(volume, sources), self._rows_from(sources[self._place])
        return pose_derivatives(piece, self.map, slice_gradient, self.geometry.voxel_size[0], rows)


def halos(sources: Sequence[range], blocks: Sequence[range]) -> list[list[range]]:
    """Return the foreign rows that every rank needs, before and behind its block; [] if no rank needs any.

    Fetching only these few rows avoids a copy of a rank's own rows.
    """
    if list(sources) == list(blocks):
        return []
    pairs = list(zip(sources, blocks, strict=True))
    before = [range(s.start, max(s.start, min(s.stop, b.start))) for s, b in pairs]
    behind = [range(min(s.stop, max(s.start, b.stop)), s.stop) for s, b in pairs]
    return [before, behind]


def bands(corners: Sequence[Int[Tensor, "pos 2"]], window: int, height: int) -> list[range]:
    """Return for each set of window corners [pixels] the image rows under the windows, counted periodically."""
    result = []
    for rows in corners:
        low, high = (int(rows[:, 0].min()), int(rows[:, 0].max())) if len(rows) else (0, 0)
        result.append(range(low, high + window) if high + window - low < height else range(height))
    return result


def within_band(corners: Int[Tensor, "pos 2"], band: range) -> Int[Tensor, "pos 2"]:
    """Return the corners in an image that consists of the rows `band`."""
    return corners - torch.tensor([band.start, 0])
