"""What checkpoints cost: volume, momentum and refined parameters, written by the ranks of all slabs at once."""

import math

from dptt.planning.layout import Layout
from dptt.planning.machine import Machine
from dptt.planning.workload import Workload

POSITION_BYTES = 16
"""Of a scan position, two numbers in double precision."""


def checkpoint_bytes(workload: Workload) -> int:
    """Return the size of a checkpoint [bytes]."""
    probe = workload.modes * math.prod(workload.window_shape) * workload.wave_bytes
    parameters = workload.tilts * (probe + workload.patterns * POSITION_BYTES)
    return 2 * workload.voxels * workload.voxel_bytes + parameters


def seconds_per_checkpoint(workload: Workload, layout: Layout, machine: Machine) -> float:
    """Return the time to write a checkpoint [s], if ranks write as fast as they read."""
    return checkpoint_bytes(workload) / (machine.reading * layout.slabs)


def number_of_checkpoints(workload: Workload, epoch_seconds: float, writing: float) -> int:
    """Return how many checkpoints a run has, of `writing` [s] each; the first and the last epoch always have one."""
    epochs = workload.epochs
    if workload.seconds_after_checkpoint is not None:
        epochs_between = max(1, math.ceil(workload.seconds_after_checkpoint(writing) / epoch_seconds))
    else:
        epochs_between = workload.checkpoint_epochs
    return len({1, *range(epochs_between, epochs + 1, epochs_between), epochs})
