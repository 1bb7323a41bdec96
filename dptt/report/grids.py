"""A volume as the page embeds it: cropped to the specimen, and whole, each as fine as a number of bytes allows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dptt.report.content import VoxelSize
from dptt.report.drawing import robust_limits
from dptt.report.embedding import quantised
from dptt.report.planes import densest_indices
from dptt.report.rendering import block_means, opacity_levels

LARGEST = 1_300_000
"""Bytes of one embedded grid, in base64; a page has up to four and stays below 6 MB."""
MARGIN = 2.0
"""Kept around the specimen [Å]."""
MOST_OF_IT = 0.7
"""A specimen that fills more of the volume than this is shown from the whole."""

Box = tuple[slice, slice, slice]


def specimen_box(potential: NDArray[np.floating], voxel_size: VoxelSize) -> Box:
    """Voxels that hold everything opaque (`rendering.opacity_levels`), and `MARGIN` around it."""
    low, high = opacity_levels(potential)
    opaque = potential > (low + high) / 2
    if not opaque.any():
        return (slice(0, potential.shape[0]), slice(0, potential.shape[1]), slice(0, potential.shape[2]))
    z, y, x = (
        _span(np.atleast_1d(opaque.any(axis=tuple({0, 1, 2} - {axis}))), MARGIN / size)
        for axis, size in enumerate(voxel_size)
    )
    return z, y, x


def _span(profile: NDArray[np.bool_], margin: float) -> slice:
    inside = np.flatnonzero(profile)
    return slice(max(0, int(inside[0] - margin)), min(len(profile), int(np.ceil(inside[-1] + 1 + margin))))


@dataclass(frozen=True)
class Layer:
    """A volume (z, y, x) [V] with its name and voxel size [Å]; the rotation centre is voxel ``n // 2``."""

    name: str
    volume: NDArray[np.floating]
    voxel_size: VoxelSize


def volume_layers(layers: Sequence[Layer]) -> dict[str, Any]:
    """Return volumes for ``slices.js``; the first says where the specimen is and where the slices begin.

    ``box`` are the edges of the specimen and ``cut`` the point (z, y, x) [Å] from the rotation centre in its densest
    planes. ``limits`` are the colour limits [V] at the start, common to all.
    """
    first, budget = layers[0], LARGEST // len(layers)
    box = specimen_box(first.volume, first.voxel_size)
    edges = [
        [(index - n // 2 - 0.5) * size for index in (part.start, part.stop)]
        for part, n, size in zip(box, first.volume.shape, first.voxel_size, strict=True)
    ]
    entries, inside = [], []
    for layer in layers:
        part = _voxels(edges, layer)
        cropped = layer.volume[part]
        inside.append(cropped.ravel())
        entries.append(
            {
                "name": layer.name,
                "whole": embedded_grid(layer.volume, layer.voxel_size, budget),
                "specimen": None
                if not 0 < cropped.size <= MOST_OF_IT * layer.volume.size
                else embedded_grid(layer.volume, layer.voxel_size, budget, part),
            }
        )
    cut = [
        (index - n // 2) * size
        for index, n, size in zip(densest_indices(first.volume), first.volume.shape, first.voxel_size, strict=True)
    ]
    limits = robust_limits(np.concatenate(inside))
    return {"layers": entries, "box": edges, "limits": list(limits), "cut": cut}


def _voxels(edges: Sequence[Sequence[float]], layer: Layer) -> Box:
    """Return the voxels of a layer between edges [Å] along (z, y, x)."""
    z, y, x = (
        slice(*(int(np.clip(round(edge / size + n // 2 + 0.5), 0, n)) for edge in pair))
        for pair, n, size in zip(edges, layer.volume.shape, layer.voxel_size, strict=True)
    )
    return z, y, x


def embedded_grid(
    volume: NDArray[np.floating], voxel_size: VoxelSize, largest: int, box: Box | None = None
) -> dict[str, Any]:
    """Return a volume (z, y, x) or a ``box`` of it, as fine as ``largest`` bytes allow, for ``slices.js``.

    First the values are coarsened, from 16 to 8 bits, then the grid, along the axis with the smallest voxels.
    ``size`` is the voxel [Å] of what is embedded, ``first`` the outer corner [Å] from the rotation centre, and
    ``reduced`` tells how many voxels along each axis were averaged.
    """
    box = box or (slice(0, volume.shape[0]), slice(0, volume.shape[1]), slice(0, volume.shape[2]))
    first = [(part.start - n // 2 - 0.5) * size for part, n, size in zip(box, volume.shape, voxel_size, strict=True)]
    values, factors = volume[box], [1, 1, 1]
    limits = (float(values.min()), float(values.max()))
    while True:
        sizes = [size * factor for size, factor in zip(voxel_size, factors, strict=True)]
        if values.size < 4 * largest:  # what does not compress fourfold will not fit anyway
            for bits in (16, 8):
                grid = quantised(values, limits, bits)
                if len(grid["data"]) <= largest or values.size < 64:
                    return {**grid, "size": sizes, "first": first, "reduced": factors}
        axis = min((a for a in range(3) if values.shape[a] > 1), key=lambda a: sizes[a])
        factors[axis] += 1
        values = _reduced(volume[box], factors)


def _reduced(values: NDArray[np.floating], factors: list[int]) -> NDArray[np.floating]:
    for axis, factor in enumerate(factors):
        if factor > 1:
            values = block_means(values, axis, factor)
    return values
