"""Which scan positions an update uses, in which order, and on which rank: functions of (seed, epoch, tilt, rank)."""

import torch
from jaxtyping import Int
from torch import Tensor

from dptt.distributed.comm import Communicator
from dptt.distributed.partition import block_range
from dptt.solvers.tomography.settings import TomographySettings

FEWEST_CALIBRATING, MOST_CALIBRATING = 40, 128
"""Patterns of a tilt that calibrate, if it has twice as many: fewer do not tell a dozen parameters. More tell them
better than what the model lacks allows, and cost more: a pattern with its derivatives takes as long as 15 that are
fitted."""


def split_held_out(num_positions: int, tilt: int, settings: TomographySettings) -> tuple[Tensor, Tensor]:
    """Return the (training, held-out) position indices of a tilt, both ascending; the same in every epoch."""
    count = round(num_positions * settings.validation_fraction)
    shuffled = torch.randperm(num_positions, generator=random_generator(settings.seed, -1, tilt))
    return shuffled[count:].sort().values, shuffled[:count].sort().values


def fitted_positions(num_positions: int, tilt: int, settings: TomographySettings, epoch: int) -> Tensor:
    """Return the indices, ascending, of the positions of a tilt that `epoch` fits."""
    training, _ = split_held_out(num_positions, tilt, settings)
    if not settings.calibration.sets_aside(epoch):
        return training
    aside = calibrating_positions(num_positions, tilt, settings)
    return training[~torch.isin(training, aside)]


def calibrating_positions(num_positions: int, tilt: int, settings: TomographySettings) -> Tensor:
    """Return the indices, ascending, of the positions of a tilt that calibrate: some of the training positions."""
    training, _ = split_held_out(num_positions, tilt, settings)
    order = torch.randperm(len(training), generator=random_generator(settings.seed, -2, tilt))
    count = min(max(round(num_positions * settings.calibration.fraction), FEWEST_CALIBRATING), MOST_CALIBRATING)
    count = min(count, len(training) // 2)
    return training[order[:count]].sort().values


def random_generator(seed: int, epoch: int, tilt: int) -> torch.Generator:
    """Return the random numbers of one tilt in one epoch: the same on every rank and after a resume.

    Choices of patterns that hold for all epochs have the epochs -1 (held out), -2 (calibrating), -3 (the blocks of
    both, see `held_out`) and -4 (for projections).
    """
    return torch.Generator().manual_seed(((seed * 1_000_003 + epoch + 1) * 1_000_003 + tilt + 1) % 2**63)


def own_positions(batch: Int[Tensor, " pos"], group: Communicator, rank: int | None = None) -> Int[Tensor, " own"]:
    """Return the positions of a minibatch that a rank of the `group` owns, by default this rank."""
    own = block_range(len(batch), group.size, group.rank if rank is None else rank)
    return batch[own.start : own.stop]
