"""Seconds per epoch: work divided by rates, and messages through an alpha-beta model of the network.

An all-reduce of B bytes over n ranks takes 2 log2(n) alpha + 2 (n-1)/n B/beta (recursive halving and doubling,
[Thakur et al. 2005, Int. J. High Perform. Comput. Appl. 19, 49, section 4.5]), an exchange alpha per peer and B/beta.
Only reading is assumed to overlap with computing, thanks to the read-ahead.
"""

import math
from dataclasses import dataclass

from dptt.planning.bands import bands
from dptt.planning.layout import Layout, share
from dptt.planning.machine import Machine
from dptt.planning.memory import keeps_patterns
from dptt.planning.traffic import Message, messages
from dptt.planning.workload import Workload

UPLOADING = 16e9
"""Bytes per second from pinned memory to a GPU: 64 % of PCIe 4.0 × 16."""
POSE_PASSES = 4
"""Rotations of the volume that the derivatives of a pose are worth: measured, in a general pose."""


@dataclass(frozen=True)
class Duration:
    """Seconds per epoch on the slowest rank, by purpose."""

    patterns: float
    """Loss and gradients: shared by all ranks of a tilt group."""
    volume: float
    """Rotating, updating and filtering: shared only by slabs."""
    communicate: float
    read: float
    """Waiting for patterns that are not kept where they are needed."""
    overhead: float
    """Everything else."""

    @property
    def total(self) -> float:
        """Seconds per epoch."""
        return self.patterns + self.volume + self.communicate + self.read + self.overhead


def epoch_duration(workload: Workload, layout: Layout, machine: Machine, interval: int = 1) -> Duration:
    """Return the time of an epoch; tilt groups synchronise every `interval` updates."""
    slowdown = max(1.0, min(layout.ranks, machine.ranks_per_node) / machine.full_speed)
    tilts = share(workload.tilts, layout.tilt_groups)
    updates = tilts * workload.batches
    held_out = workload.patterns * workload.held_out
    gradients = updates * share(workload.batch, layout.group_ranks) * workload.pattern_work / machine.gradients
    losses = tilts * share(held_out, layout.group_ranks) * workload.pattern_work / machine.losses

    depth, height, width = workload.volume_shape
    voxels = depth * share(height, layout.slabs) * width
    held_out_passes = tilts * (held_out > 0)  # the held-out loss rotates the volume once more
    rotations = 2 * updates + held_out_passes + tilts * workload.refines_pose * POSE_PASSES
    image = workload.num_slices * bands(workload, layout).mean * width
    filters = workload.filters_epochs + tilts * workload.filters_tilts
    volume = (
        rotations * voxels / machine.turning
        + updates * voxels / machine.updating
        + filters * voxels / machine.filtering
        + (updates + held_out_passes / 2) * image / machine.slicing
    )
    compute = slowdown * (gradients + losses + volume)
    rate = math.inf
    if not (workload.resident or keeps_patterns(workload, layout)):
        rate = machine.reading / slowdown
    elif workload.gpu_bytes is not None and not workload.resident:
        rate = UPLOADING
    patterns = tilts * workload.patterns / layout.group_ranks * workload.pattern_bytes
    reading = max(0.0, patterns / rate - compute)
    communicate = math.fsum(
        message.number * message_seconds(message, layout, machine) for message in messages(workload, layout, interval)
    )
    return Duration(
        slowdown * (gradients + losses),
        slowdown * volume,
        communicate,
        reading,
        slowdown * updates * machine.overhead,
    )


def message_seconds(message: Message, layout: Layout, machine: Machine) -> float:
    """Return the seconds of one message between all ranks along its axis."""
    ranks, reach = {
        "slab": (layout.slabs, layout.slabs),
        "scan": (layout.scan, layout.group_ranks),
        "group": (layout.group_ranks, layout.group_ranks),
        "tilt": (layout.tilt_groups, layout.ranks),
    }[message.axis]
    between = reach > machine.ranks_per_node
    latency = machine.latency_between if between else machine.latency
    bandwidth = machine.bandwidth_between if between else machine.bandwidth
    if message.kind == "exchange":
        return message.peers * latency + message.size / bandwidth
    return 2 * math.ceil(math.log2(ranks)) * latency + 2 * (ranks - 1) / ranks * message.size / bandwidth
