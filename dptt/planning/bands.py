"""Which rows of the slices a rank needs for its scan positions, for a raster whose slow direction is y."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from dptt.planning.layout import Layout, share
from dptt.planning.workload import Workload


@dataclass(frozen=True)
class Bands:
    """Rows of the slices that a rank needs for a minibatch."""

    mean: float
    largest: float
    fetched: float
    """Mean rows of a band that other ranks hold. As many are received, and as many gradients are sent back."""


@cache
def bands(workload: Workload, layout: Layout) -> Bands:
    """Return the bands of all ranks and minibatches; with one slab, every rank has all rows."""
    height = workload.volume_shape[1]
    if layout.slabs == 1:
        return Bands(float(height), float(height), 0.0)
    own = share(height, layout.slabs)
    if workload.pixels_per_voxel > 1:  # whole slices are interpolated
        return Bands(float(height), float(height), float(height - own))
    lengths, fetched = [], []
    for rank, (first, last) in _bands(workload, layout):
        slab = rank % layout.slabs
        low, high = own * slab, min(own * (slab + 1), height)
        lengths.append(float(last - first))
        fetched.append(last - first - max(0.0, min(last, high) - max(first, low)))
    return Bands(sum(lengths) / len(lengths), max(lengths), sum(fetched) / len(fetched))


def _bands(workload: Workload, layout: Layout) -> Iterator[tuple[int, tuple[float, float]]]:
    """Yield the rank in its group and the first and last row, for every rank and minibatch."""
    height, window = workload.volume_shape[1], workload.window_shape[0]
    start, stop = workload.scan_rows
    parts = workload.batches * layout.group_ranks
    for part in range(parts):
        first = start + (stop - start) * part / parts
        last = start + (stop - start) * (part + 1) / parts + window
        yield part % layout.group_ranks, (first, last) if last - first < height else (0.0, float(height))
