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
        poses that do not help go back to the nominal ones       see `solvers.tomography.verdict`
        Butterworth filter
        weights of the tilts                                             see `solvers.tomography.health`

Randomness (orders, held-out patterns) is a function of (seed, epoch, tilt) alone, so a resumed run repeats it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dptt.distributed.mesh import Mesh
from dptt.model.forward import Geometry
from dptt.model.state import TomographyState
from dptt.physics.rotation import rotation_matrix
from dptt.solvers.stage_prior import Verdict
from dptt.solvers.tomography.constraints import butterworth_, regularise_layers_
from dptt.solvers.tomography.epoch_seconds import Counters, seconds_of_ranks
from dptt.solvers.tomography.health import FIRST_WEIGHTED_EPOCH, tilt_weights
from dptt.solvers.tomography.minibatches import own_positions, random_generator, split_held_out
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.settings import TomographySettings
from dptt.solvers.tomography.tilt_groups import TiltGroups
from dptt.solvers.tomography.tilt_patterns import TiltPatterns
from dptt.solvers.tomography.tilt_plan import TiltPlan, plan_tilt
from dptt.solvers.tomography.tilt_update import HELD_OUT_BLOCKS, held_out_loss_of_blocks, update_tilt
from dptt.solvers.tomography.verdict import judge_, refined_settings
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
    pose_errors: list[list[float]] = field(default_factory=list)
    """Per tilt, standard deviations of (phi, theta, psi) [degrees] and tau (y, x) [Å]; zero if not refined."""
    verdicts: list[Verdict] = field(default_factory=list)
    """On the refinements that were judged after this epoch."""
    fast_error: float = 0.0
    """Largest relative error of a rank's slice gradient by half precision, in the first minibatch."""
    changes: dict[str, float] = field(default_factory=dict)
    """Root mean square change of the refined parameters in this epoch."""
    ranks: dict[str, list[float]] = field(default_factory=dict)
    """Seconds of every rank, see `epoch_seconds.seconds_of_ranks`."""


@dataclass(frozen=True)
class _EpochSums:
    """What the passes over the tilts did."""

    tilts: Tensor
    """Per tilt (tilt, 4): training loss, held-out loss, training electrons, held-out electrons."""
    pose_errors: Tensor
    """Per tilt (tilt, 5)."""
    updates: int
    fast_error: float


def reconstruct(
    state: TomographyState,
    tilts: Sequence[TiltPatterns],
    geometry: Geometry,
    settings: TomographySettings,
    mesh: Mesh,
    on_epoch: Callable[[EpochRecord], None] = lambda record: None,
    *,
    on_tilt: Callable[[int, int], None] = lambda done, total: None,
) -> TomographyState:
    """Run epochs until `settings.epochs` are complete, and return `state`, updated in place.

    `on_epoch` is called after every epoch, when the state holds this rank's rows of the volume and everything else is
    equal on all ranks (write the checkpoint there). `on_tilt` is called with the number of tilts that this tilt group
    has done in the epoch and has in total.

    Raises
    ------
    NonFiniteLossError
        On every rank of a tilt group, as soon as a loss is not finite.
    """
    while state.epoch < settings.epochs:
        groups = TiltGroups(mesh.tilt, settings.tilt_groups, state, len(tilts))
        run = Run(geometry, refined_settings(state, settings), mesh, groups)
        on_epoch(_run_epoch(state, tilts, run, on_tilt))
    return state


def _run_epoch(
    state: TomographyState, tilts: Sequence[TiltPatterns], run: Run, on_tilt: Callable[[int, int], None]
) -> EpochRecord:
    start, before = Counters.now(tilts, run.mesh), _refined_parameters(state)
    sums = _update_from_all_tilts(state, tilts, run, on_tilt)
    _exchange_positions(state, run)
    run.groups.end_epoch()
    fast_error = run.mesh.world.maximum(sums.fast_error) if run.settings.fast else 0.0
    losses, held_out_losses, electrons, held_out_electrons = run.groups.shared(sums.tilts).unbind(1)
    pose_errors = run.groups.shared(sums.pose_errors)
    verdicts = judge_(state, run, pose_errors, lambda changed: _held_out_losses(changed, tilts, run))
    _filter(state, run)
    state.epoch += 1
    _weigh_tilts(state, tilts, losses / electrons, run.settings)
    end = Counters.now(tilts, run.mesh)
    seconds, untested = end.seconds_since(start), held_out_electrons.sum().item() == 0
    return EpochRecord(
        epoch=state.epoch,
        loss=losses.sum().item() / electrons.sum().item(),
        held_out_loss=None if untested else held_out_losses.sum().item() / held_out_electrons.sum().item(),
        tilt_losses=(losses / electrons).tolist(),
        seconds=seconds,
        bytes_sent=end.bytes_sent - start.bytes_sent,
        updates=sums.updates,
        tilt_weights=state.tilt_weights.tolist(),
        changes={name: _root_mean_square(now - before[name]) for name, now in _refined_parameters(state).items()},
        pose_errors=pose_errors.tolist(),
        verdicts=verdicts,
        fast_error=fast_error,
        ranks=seconds_of_ranks(seconds, run.mesh.world),
    )


def _update_from_all_tilts(
    state: TomographyState, tilts: Sequence[TiltPatterns], run: Run, on_tilt: Callable[[int, int], None]
) -> _EpochSums:
    """Pass over the tilts of this group, one a round, each planned while the tilt before it is computed."""
    own = run.groups.schedule(_round_order(run.groups.rounds, state.epoch, run.settings))
    sums, pose_errors = (torch.zeros((len(tilts), n), dtype=torch.float64) for n in (4, 5))
    updates, fast_error = 0, 0.0
    tilt = _plan_round(state, tilts, own[0], run)
    for round_, index in enumerate(own):
        following = _plan_round(state, tilts, own[round_ + 1], run) if round_ + 1 < len(own) else None
        if tilt is None:
            _join_updates(state, run)
            updates += run.settings.batches
        else:
            with run.mesh.world.working(f"epoch {state.epoch + 1}, tilt {tilt.patterns.name}"):
                record = update_tilt(state, tilt, run, following=following, measure_error=round_ == 0)
            losses = [record.loss, record.held_out_loss]
            sums[tilt.index] = torch.tensor(
                [*losses, record.electrons, record.held_out_electrons], dtype=torch.float64
            )
            pose_errors[tilt.index] = record.pose_errors
            updates, fast_error = updates + record.updates, max(fast_error, record.fast_error)
        tilt = following
        _regularise_layers(state, index, run)
        on_tilt(round_ + 1, len(own))
    return _EpochSums(sums, pose_errors, updates, fast_error)


def _held_out_losses(state: TomographyState, tilts: Sequence[TiltPatterns], run: Run) -> Tensor:
    """Return the losses (tilt, block) of the held-out patterns at the poses of `state`, the same on all ranks."""
    losses = torch.zeros((len(tilts), HELD_OUT_BLOCKS), dtype=torch.float64)
    for index in run.groups.own:
        losses[index] = held_out_loss_of_blocks(state, plan_tilt(state, tilts[index], index, run), run)
    return run.groups.shared(losses)


def _plan_round(
    state: TomographyState, tilts: Sequence[TiltPatterns], index: int | None, run: Run
) -> TiltPlan | None:
    """Return the plan of the pass over tilt `index`; None in a round without a tilt."""
    return None if index is None else plan_tilt(state, tilts[index], index, run)


def _join_updates(state: TomographyState, run: Run) -> None:
    """Take part in the updates of the other tilt groups in a round in which this group has no tilt."""
    for _ in range(run.settings.batches):
        advance_and_constrain_(state, run, torch.zeros_like(state.volume))


def _round_order(rounds: int, epoch: int, settings: TomographySettings) -> list[int]:
    """Return the order in which every group goes through its tilts; with one group, through all tilts."""
    if settings.tilt_order == "sequential":
        return list(range(rounds))
    return torch.randperm(rounds, generator=random_generator(settings.seed, epoch, -1)).tolist()


def _regularise_layers(state: TomographyState, tilt: int | None, run: Run) -> None:
    """Damp what the tilts of this round cannot resolve along their beams."""
    regularisation = run.settings.regularisation
    if regularisation.layer_weight <= 0 or regularisation.layer_strength <= 0:
        return
    for angles in run.groups.angles_of_round(tilt):
        beam = rotation_matrix(angles)[2].flip(0)  # R^T z, as (z, y, x)
        regularise_layers_(
            state.volume,
            run.geometry.voxel_size,
            beam.to(state.volume.real.dtype),
            weight=regularisation.layer_weight,
            strength=regularisation.layer_strength,
            rows=run.rows,
        )


def _filter(state: TomographyState, run: Run) -> None:
    """Apply the Butterworth filter, if there is one."""
    regularisation = run.settings.regularisation
    if regularisation.butterworth_cutoff is not None:
        butterworth_(
            state.volume,
            run.geometry.voxel_size,
            cutoff=regularisation.butterworth_cutoff,
            order=regularisation.butterworth_order,
            rows=run.rows,
        )


def _weigh_tilts(
    state: TomographyState, tilts: Sequence[TiltPatterns], losses: Tensor, settings: TomographySettings
) -> None:
    """Reduce the weight of tilts whose `losses` [per electron] stand out, from an early epoch on."""
    if settings.weigh_tilts and state.epoch >= FIRST_WEIGHTED_EPOCH:
        noise = torch.tensor([tilt.shot_noise_loss for tilt in tilts], dtype=torch.float64)
        state.tilt_weights = tilt_weights(losses, noise)


def _exchange_positions(state: TomographyState, run: Run) -> None:
    """Give every rank the positions that the others refined.

    A training position is owned by one rank of the group, a held-out position by none.
    """
    group, settings = run.mesh.group, run.settings
    if group.size == 1 or not settings.positions.active(state.epoch):
        return
    for index, positions in enumerate(state.positions):
        training, _ = split_held_out(len(positions), index, settings)
        refined = torch.zeros_like(positions)
        for batch in training.tensor_split(settings.batches):
            own = own_positions(batch, group)
            refined[own] = positions[own]
        group.sum_(refined)
        positions[training] = refined[training]


def _refined_parameters(state: TomographyState) -> dict[str, Tensor]:
    """Return copies of the parameters whose change in an epoch is reported."""
    return {
        "angles_deg": state.euler_angles.clone(),
        "translations_A": state.translations.clone(),
        "positions_A": torch.cat(state.positions),
    }


def _root_mean_square(values: Tensor) -> float:
    return values.square().mean().sqrt().item()
