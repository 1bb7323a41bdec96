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
        weights of the tilts                                             see `solvers.tomography.health`

Randomness (orders, held-out patterns) is a function of (seed, epoch, tilt) alone, so a resumed run repeats it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dptt.distributed.mesh import Mesh
from dptt.distributed.partition import block_range
from dptt.distributed.slabs import Rows
from dptt.model.forward import Geometry
from dptt.model.state import TomographyState
from dptt.physics.rotation import rotation_matrix
from dptt.solvers.tomography.constraints import butterworth_, regularise_layers_
from dptt.solvers.tomography.health import FIRST_WEIGHTED_EPOCH, tilt_weights
from dptt.solvers.tomography.minibatches import random_generator, split_held_out
from dptt.solvers.tomography.settings import TomographySettings
from dptt.solvers.tomography.stopwatch import Stopwatch, seconds_of_ranks
from dptt.solvers.tomography.tilt_groups import TiltGroups
from dptt.solvers.tomography.tilt_patterns import TiltPatterns
from dptt.solvers.tomography.tilt_update import TiltUpdate
from dptt.solvers.tomography.volume_update import advance_and_constrain_


@dataclass
class EpochRecord:
    """What an epoch did; losses are per electron, so 0 is perfect and noise-free data approach it."""

    epoch: int
    loss: float
    held_out_loss: float | None
    tilt_losses: list[float]
    seconds: dict[str, float]
    """Of this rank: read, communicate, compute, total."""
    bytes_sent: int
    """By this rank."""
    updates: int
    tilt_weights: list[float] = field(default_factory=list)
    fast_error: float = 0.0
    """Largest relative error of a rank's slice gradient by half precision, in the first minibatch."""
    changes: dict[str, float] = field(default_factory=dict)
    """Root mean square change of the refined parameters in this epoch."""
    ranks: dict[str, list[float]] = field(default_factory=dict)
    """Seconds of every rank, see `stopwatch.seconds_of_ranks`."""


def reconstruct(
    state: TomographyState,
    tilts: Sequence[TiltPatterns],
    geometry: Geometry,
    settings: TomographySettings,
    mesh: Mesh,
    on_epoch: Callable[[EpochRecord], None] = lambda record: None,
    on_tilt: Callable[[int, int], None] = lambda done, total: None,
) -> TomographyState:
    """Run epochs until `settings.epochs` are complete, and return `state`, updated in place.

    `on_epoch` is called after every epoch, with the rows of the volume that are this rank's and everything else equal
    on all ranks (write the checkpoint there); `on_tilt` with the number of rounds done in the epoch, of as many tilts
    as there are tilt groups.

    Raises
    ------
    NonFiniteLossError
        On every rank of a tilt group, as soon as a loss is not finite.
    """
    while state.epoch < settings.epochs:
        on_epoch(_run_epoch(state, tilts, geometry, settings, mesh, on_tilt))
    return state


def _run_epoch(
    state: TomographyState,
    tilts: Sequence[TiltPatterns],
    geometry: Geometry,
    settings: TomographySettings,
    mesh: Mesh,
    on_tilt: Callable[[int, int], None],
) -> EpochRecord:
    stopwatch, sent = Stopwatch(), mesh.bytes_sent
    before = (state.euler_angles.clone(), state.translations.clone(), torch.cat(state.positions))
    groups = TiltGroups(mesh.tilt, settings.tilt_groups, state, len(tilts))
    own = groups.schedule(_round_order(groups.rounds, state.epoch, settings))
    sums = torch.zeros((len(tilts), 4), dtype=torch.float64)  # losses and electrons, of training and of held-out

    def begin(index: int | None) -> TiltUpdate | None:
        if index is None:
            return None
        return TiltUpdate(state, tilts[index], index, geometry, settings, mesh, groups, stopwatch)

    updates, fast_error = 0, 0.0
    tilt = begin(own[0])
    for round_, index in enumerate(own):
        following = begin(own[round_ + 1]) if round_ + 1 < len(own) else None
        if tilt is None:
            for _ in range(settings.batches):  # the other groups still have a tilt
                nothing = torch.zeros_like(state.volume)
                advance_and_constrain_(state, nothing, settings, mesh, groups, stopwatch)
        else:
            with mesh.world.working(f"epoch {state.epoch + 1}, tilt {tilt.patterns.name}"):
                loss, tested, electrons = tilt.run(following, measure_error=round_ == 0)
            fast_error = max(fast_error, tilt.fast_error)
            sums[tilt.index] = torch.tensor([loss, tested, *electrons], dtype=torch.float64)
        updates += settings.batches if tilt is None else tilt.updates
        tilt = following
        _regularise_layers(state, index, geometry, settings, mesh, groups)
        on_tilt(round_ + 1, len(own))
    regularisation = settings.regularisation
    with stopwatch.of("communicate"):
        _exchange_positions(state, settings, mesh)
        groups.end_epoch()
        fast_error = mesh.world.maximum(fast_error) if settings.fast else 0.0
        sums = groups.shared(sums)
    rows = Rows(geometry.volume_shape[1], mesh.slab)
    if regularisation.butterworth_cutoff is not None:
        butterworth_(
            state.volume,
            geometry.voxel_size,
            regularisation.butterworth_cutoff,
            regularisation.butterworth_order,
            rows,
        )
    state.epoch += 1
    trained, untrained = sums[:, 2].sum().item(), sums[:, 3].sum().item()
    tilt_losses = sums[:, 0] / sums[:, 2]
    if settings.weigh_tilts and state.epoch >= FIRST_WEIGHTED_EPOCH:
        noise = torch.tensor([tilt.shot_noise_loss for tilt in tilts], dtype=torch.float64)
        state.tilt_weights = tilt_weights(tilt_losses, noise)
    seconds = stopwatch.stop()
    return EpochRecord(
        epoch=state.epoch,
        loss=sums[:, 0].sum().item() / trained,
        held_out_loss=sums[:, 1].sum().item() / untrained if untrained else None,
        tilt_losses=tilt_losses.tolist(),
        seconds=seconds,
        bytes_sent=mesh.bytes_sent - sent,
        updates=updates,
        tilt_weights=state.tilt_weights.tolist(),
        changes={
            "angles_deg": _root_mean_square(state.euler_angles - before[0]),
            "translations_A": _root_mean_square(state.translations - before[1]),
            "positions_A": _root_mean_square(torch.cat(state.positions) - before[2]),
        },
        fast_error=fast_error,
        ranks=seconds_of_ranks(seconds, mesh.world),
    )


def _round_order(rounds: int, epoch: int, settings: TomographySettings) -> list[int]:
    """Return in which order every group goes through its tilts; with one group, through all tilts."""
    if settings.tilt_order == "sequential":
        return list(range(rounds))
    return torch.randperm(rounds, generator=random_generator(settings.seed, epoch, -1)).tolist()


def _regularise_layers(
    state: TomographyState,
    tilt: int | None,
    geometry: Geometry,
    settings: TomographySettings,
    mesh: Mesh,
    groups: TiltGroups,
) -> None:
    """Damp what the tilts of this round cannot resolve along their beams."""
    regularisation = settings.regularisation
    if regularisation.layer_weight <= 0 or regularisation.layer_strength <= 0:
        return
    for angles in groups.angles_of_round(tilt):
        beam = rotation_matrix(angles)[2].flip(0)  # R^T z, as (z, y, x)
        regularise_layers_(
            state.volume,
            geometry.voxel_size,
            beam.to(state.volume.real.dtype),
            regularisation.layer_weight,
            regularisation.layer_strength,
            Rows(geometry.volume_shape[1], mesh.slab),
        )


def _exchange_positions(state: TomographyState, settings: TomographySettings, mesh: Mesh) -> None:
    """Give every rank the positions that the others refined; each is owned by exactly one, or by none (held out)."""
    group = mesh.group
    if group.size == 1 or not settings.positions.active(state.epoch):
        return
    for index, positions in enumerate(state.positions):
        training, _ = split_held_out(len(positions), index, settings)
        owned = torch.zeros_like(positions)
        for batch in training.tensor_split(settings.batches):
            mine = block_range(len(batch), group.size, group.rank)
            owned[batch[mine.start : mine.stop]] = positions[batch[mine.start : mine.stop]]
        group.sum_(owned)
        positions[training] = owned[training]


def _root_mean_square(values: Tensor) -> float:
    return values.square().mean().sqrt().item()
