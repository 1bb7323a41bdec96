"""What one rank sends, message by message, counted as the communicators count it: the payload without headers."""

import math
from dataclasses import dataclass

from dptt.planning.bands import bands
from dptt.planning.layout import Layout, share
from dptt.planning.workload import Workload


@dataclass(frozen=True)
class Message:
    """Equal messages of an epoch."""

    content: str
    axis: str
    """Axis of the mesh along which it travels: group, scan, slab or tilt."""
    kind: str
    """``sum``, an all-reduce, or ``exchange`` with neighbours or with all."""
    number: float | int
    """Messages per epoch."""
    size: float | int
    """Bytes that this rank sends with each."""
    peers: int = 0
    """Ranks that receive a part of an exchange."""


def messages(workload: Workload, layout: Layout, interval: int = 1) -> list[Message]:
    """Return what a rank in the middle sends in an epoch; tilt groups synchronise every `interval` updates."""
    exact = [m for m in (*_of_group(workload, layout), *_of_slabs(workload, layout)) if m.size > 0]
    if layout.tilt_groups == 1:
        return exact
    volume = _own_voxels(workload, layout) * workload.voxel_bytes
    updates = share(workload.tilts, layout.tilt_groups) * workload.batches
    probes = workload.tilts * (_probe_bytes(workload) + 16 * workload.patterns)
    return [
        *exact,
        Message("volume", "tilt", "sum", updates / interval, volume),
        Message("probes and positions of the epoch", "tilt", "sum", 1, probes + (interval > 1) * volume),
    ]


def bytes_per_update(workload: Workload, layout: Layout, interval: int = 1) -> float:
    """Return the mean bytes that a rank sends for one update of the volume."""
    updates = share(workload.tilts, layout.tilt_groups) * workload.batches
    return math.fsum(message.number * message.size for message in messages(workload, layout, interval)) / updates


def _of_group(workload: Workload, layout: Layout) -> list[Message]:
    """Return the sums over the ranks that share a minibatch."""
    if layout.group_ranks == 1:
        return []
    tilts = share(workload.tilts, layout.tilt_groups)
    updates = tilts * workload.batches
    _, height, width = workload.volume_shape
    rows = share(height, layout.slabs)
    image = rows * width
    gradient = image * (workload.num_slices * workload.voxel_bytes + workload.real_bytes)
    # the gradient of the probe is sent only while the probe is refined: nearly always
    small = workload.refines_probe * _probe_bytes(workload) + workload.real_bytes
    if layout.slabs == 1:
        sums = [Message("slice gradient", "scan", "sum", updates, gradient + small)]
    else:
        sums = [
            Message("slice gradient", "scan", "sum", updates, gradient * (layout.scan > 1)),
            Message("probe gradient", "group", "sum", updates, small),
        ]
    sums.append(Message("held-out loss", "group", "sum", tilts, 8))
    if workload.refines_positions:
        sums += [
            Message("mean step of positions", "group", "sum", tilts, 24),
            Message("positions", "group", "sum", workload.tilts, 16 * workload.patterns),
        ]
    return sums


def _of_slabs(workload: Workload, layout: Layout) -> list[Message]:
    """Return what the ranks that hold one volume exchange."""
    if layout.slabs == 1:
        return []
    tilts = share(workload.tilts, layout.tilt_groups)
    updates = tilts * workload.batches
    passes = updates + tilts * (workload.held_out > 0)  # the held-out loss projects the volume once per tilt
    depth, height, width = workload.volume_shape
    rows = share(height, layout.slabs)
    halo = min(workload.halo_rows, height - rows) * (layout.slabs - 1) / layout.slabs  # outer slabs have one side
    volume_halo = depth * halo * width * workload.voxel_bytes
    row = workload.num_slices * width * workload.voxel_bytes
    band = bands(workload, layout)
    others = layout.slabs - 1
    beside = min(others, 2 * math.ceil(halo / 2 / rows))
    under = min(others, math.ceil(band.mean / rows))
    spectrum = _own_voxels(workload, layout) * workload.wave_bytes * (1 - 1 / layout.slabs)
    # a filter exchanges the spectrum twice, whether the volume is real or complex
    filters = workload.filters_epochs + tilts * workload.filters_tilts
    illumination = band.fetched * width * workload.real_bytes
    exchanges = [
        Message("halo of the volume", "slab", "exchange", passes, volume_halo, beside),
        Message("halo of the update", "slab", "exchange", updates, volume_halo, beside),
        Message("band of slices", "slab", "exchange", passes, band.fetched * row, under),
        Message("band of gradients", "slab", "exchange", updates, band.fetched * row, under),
        Message("band of illumination", "slab", "exchange", updates, illumination, under),
        Message("typical potential", "slab", "sum", updates, 16),
        Message("maximum illumination", "slab", "sum", updates, 8),
        Message("spectrum", "slab", "exchange", 2 * filters, spectrum, others),
    ]
    if workload.refines_pose:
        exchanges += [
            Message("halo for the pose", "slab", "exchange", tilts, volume_halo, beside),
            Message("curvature of the pose", "slab", "sum", tilts, 8 * 30),
        ]
    if workload.refines_positions:
        projection = rows * width * workload.voxel_bytes * (layout.slabs - 1)
        exchanges.append(Message("projection", "slab", "exchange", tilts, projection, others))
    return exchanges


def _own_voxels(workload: Workload, layout: Layout) -> int:
    depth, height, width = workload.volume_shape
    return depth * share(height, layout.slabs) * width


def _probe_bytes(workload: Workload) -> int:
    return workload.modes * workload.window_shape[0] * workload.window_shape[1] * workload.wave_bytes
