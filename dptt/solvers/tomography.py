"""[P] Algorithm 3, End2EndPtychoTomo: one volume from all tilts, by minibatch gradient descent.

    for every epoch
        for every tilt, in random order
            for every minibatch of adjacent scan positions, reshuffled
                I_model = sum_modes |F M(exp(i sigma B A V))|²           [P] eq. 14-15
                V   <- V - step · curvature⁻¹ · dL/dV                    [P] eq. 18, preconditioned
                psi <- psi - step · curvature⁻¹ · dL/dpsi                from the epoch `probe.start` on
                shrink Im V                                              [P] eq. 17
            scan positions, pose <- Newton steps                         beyond [P]
            layer regularisation
        Butterworth filter
        weights of the tilts                                             see `solvers.health`

Randomness (orders, held-out patterns) is a function of (seed, epoch, tilt) alone, so a resumed run repeats it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dptt.distributed.comm import Communicator
from dptt.distributed.partition import block_range
from dptt.model.forward import Geometry
from dptt.model.state import TomographyState
from dptt.solvers.constraints import butterworth_
from dptt.solvers.health import FIRST_WEIGHTED_EPOCH, tilt_weights
from dptt.solvers.settings import TomographySettings
from dptt.solvers.tilt_update import TiltPatterns, TiltUpdate, random_generator, split_held_out


@dataclass
class EpochRecord:
    """What an epoch did; losses are per electron, so 0 is perfect and noise-free data approach it."""

    epoch: int
    loss: float
    held_out_loss: float | None
    tilt_losses: list[float]
    seconds: dict[str, float]
    bytes_sent: int
    updates: int
    tilt_weights: list[float] = field(default_factory=list)
    changes: dict[str, float] = field(default_factory=dict)
    """Root mean square change of the refined parameters in this epoch."""


def reconstruct(
    state: TomographyState,
    tilts: Sequence[TiltPatterns],
    geometry: Geometry,
    settings: TomographySettings,
    communicator: Communicator,
    on_epoch: Callable[[EpochRecord], None] = lambda record: None,
    on_tilt: Callable[[int, int], None] = lambda done, total: None,
) -> TomographyState:
    """Run epochs until `settings.epochs` are complete, and return `state`, updated in place.

    `on_epoch` is called after every epoch with `state` complete and equal on all ranks (write the checkpoint there);
    `on_tilt` with the number of tilts done in the epoch.

    Raises
    ------
    NonFiniteLossError
        On every rank, as soon as a loss is not finite.
    """
    while state.epoch < settings.epochs:
        on_epoch(_run_epoch(state, tilts, geometry, settings, communicator, on_tilt))
    return state


def _run_epoch(
    state: TomographyState,
    tilts: Sequence[TiltPatterns],
    geometry: Geometry,
    settings: TomographySettings,
    communicator: Communicator,
    on_tilt: Callable[[int, int], None],
) -> EpochRecord:
    start, sent = time.perf_counter(), communicator.bytes_sent
    seconds = {"read": 0.0, "communicate": 0.0}
    losses, held_out, electrons = [0.0] * len(tilts), [0.0] * len(tilts), [[0.0, 0.0] for _ in tilts]
    before = (state.euler_angles.clone(), state.translations.clone(), torch.cat(state.positions))
    updates = 0
    for done, index in enumerate(_tilt_order(len(tilts), state.epoch, settings)):
        tilt = TiltUpdate(state, tilts[index], index, geometry, settings, communicator, seconds)
        losses[index], held_out[index], electrons[index] = tilt.run()
        updates += tilt.updates
        on_tilt(done + 1, len(tilts))
    regularisation = settings.regularisation
    if regularisation.butterworth_cutoff is not None:
        butterworth_(
            state.volume, geometry.voxel_size, regularisation.butterworth_cutoff, regularisation.butterworth_order
        )
    _exchange_positions(state, settings, communicator)
    state.epoch += 1
    seconds["total"] = time.perf_counter() - start
    seconds["compute"] = seconds["total"] - seconds["read"] - seconds["communicate"]
    trained, tested = (sum(e[i] for e in electrons) for i in (0, 1))
    tilt_losses = [loss / e[0] for loss, e in zip(losses, electrons, strict=True)]
    if settings.weigh_tilts and state.epoch >= FIRST_WEIGHTED_EPOCH:
        noise = torch.tensor([tilt.shot_noise_loss for tilt in tilts], dtype=torch.float64)
        state.tilt_weights = tilt_weights(torch.tensor(tilt_losses, dtype=torch.float64), noise)
    return EpochRecord(
        epoch=state.epoch,
        loss=sum(losses) / trained,
        held_out_loss=sum(held_out) / tested if tested else None,
        tilt_losses=tilt_losses,
        seconds=seconds,
        bytes_sent=communicator.bytes_sent - sent,
        updates=updates,
        tilt_weights=state.tilt_weights.tolist(),
        changes={
            "angles_deg": _root_mean_square(state.euler_angles - before[0]),
            "translations_A": _root_mean_square(state.translations - before[1]),
            "positions_A": _root_mean_square(torch.cat(state.positions) - before[2]),
        },
    )


def _tilt_order(num_tilts: int, epoch: int, settings: TomographySettings) -> list[int]:
    if settings.tilt_order == "sequential":
        return list(range(num_tilts))
    return torch.randperm(num_tilts, generator=random_generator(settings.seed, epoch, -1)).tolist()


def _exchange_positions(state: TomographyState, settings: TomographySettings, communicator: Communicator) -> None:
    """Give every rank the positions that the others refined; each is owned by exactly one, or by none (held out)."""
    if communicator.size == 1 or not settings.positions.active(state.epoch):
        return
    for index, positions in enumerate(state.positions):
        training, _ = split_held_out(len(positions), index, settings)
        owned = torch.zeros_like(positions)
        for batch in training.tensor_split(settings.batches):
            mine = block_range(len(batch), communicator.size, communicator.rank)
            owned[batch[mine.start : mine.stop]] = positions[batch[mine.start : mine.stop]]
        communicator.sum_(owned)
        positions[training] = owned[training]


def _root_mean_square(values: Tensor) -> float:
    return values.square().mean().sqrt().item()
