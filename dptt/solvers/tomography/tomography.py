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
        errors of the experiment, and whether they help          see `solvers.tomography.calibration`
        Butterworth filter
        weights of the tilts                                             see `solvers.tomography.health`

Randomness (orders, held-out patterns) is a function of (seed, epoch, tilt) alone, so a resumed run repeats it.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dptt.distributed.mesh import Mesh
from dptt.model.forward import Geometry
from dptt.model.shot_noise import Fit
from dptt.model.state import TomographyState
from dptt.physics.rotation import rotation_matrix
from dptt.solvers.tomography.borders import advice
from dptt.solvers.tomography.calibration_verdict import calibrate_and_judge_
from dptt.solvers.tomography.constraints import butterworth_, regularise_layers_
from dptt.solvers.tomography.epoch_record import EpochRecord, changes_since, refined_parameters
from dptt.solvers.tomography.epoch_seconds import Counters, seconds_of_ranks
from dptt.solvers.tomography.fit import measure_fit
from dptt.solvers.tomography.guard import (
    MOST_HALVINGS,
    BeforeEpoch,
    Reload,
    largest_loss,
    mean_shot_noise_loss,
    measures_vacuum,
    slowed,
)
from dptt.solvers.tomography.health import FIRST_WEIGHTED_EPOCH, tilt_weights
from dptt.solvers.tomography.held_out import losses_of_held_out
from dptt.solvers.tomography.minibatches import fitted_positions, own_positions, random_generator
from dptt.solvers.tomography.parameter_groups import error_table
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.settings import TomographySettings
from dptt.solvers.tomography.tilt_groups import TiltGroups
from dptt.solvers.tomography.tilt_patterns import TiltPatterns
from dptt.solvers.tomography.tilt_plan import TiltPlan, plan_tilt
from dptt.solvers.tomography.tilt_update import update_tilt
from dptt.solvers.tomography.verdict import judge_, refined_settings
from dptt.solvers.tomography.volume_update import advance_and_constrain_

log = logging.getLogger("dptt")


@dataclass(frozen=True)
class _EpochSums:
    """What the passes over the tilts did."""

    tilts: Tensor
    """Per tilt (tilt, 5): training loss, held-out loss, training electrons, held-out electrons, loss of vacuum."""
    pose_errors: Tensor
    """Per tilt (tilt, 5)."""
    updates: int
    fast_error: float
    at_border: Tensor
    """Positions of this rank, and translations of this group, that are kept at the border."""


def reconstruct(
    state: TomographyState,
    tilts: Sequence[TiltPatterns],
    geometry: Geometry,
    settings: TomographySettings,
    mesh: Mesh,
    on_epoch: Callable[[EpochRecord], None] = lambda record: None,
    *,
    on_tilt: Callable[[int, int], None] = lambda done, total: None,
    reload: Reload | None = None,
) -> TomographyState:
    """Run epochs until `settings.epochs` are complete, and return `state`, updated in place.

    `on_epoch` is called after every epoch, when the state holds this rank's rows of the volume and everything else is
    equal on all ranks (write the checkpoint there). `on_tilt` is called with the number of tilts that this tilt group
    has done in the epoch and has in total. An epoch that raises the loss is undone, see `solvers.tomography.guard`:
    with `reload` no copy of the volume is kept for that.

    Raises
    ------
    NonFiniteLossError
        On every rank of a tilt group, as soon as a loss is not finite.
    """
    while state.epoch < settings.epochs:
        on_epoch(_guarded_epoch(state, tilts, geometry, settings, mesh, on_tilt, reload))
    return state


def _guarded_epoch(
    state: TomographyState,
    tilts: Sequence[TiltPatterns],
    geometry: Geometry,
    settings: TomographySettings,
    mesh: Mesh,
    on_tilt: Callable[[int, int], None],
    reload: Reload | None,
) -> EpochRecord:
    """Run an epoch; while it raises the loss, undo it and repeat it with half the step."""
    before, descent = BeforeEpoch(state, reload), state.descent
    factor = descent.step_factor
    for undone in range(MOST_HALVINGS + 1):
        groups = TiltGroups(mesh.tilt, settings.tilt_groups, state, len(tilts))
        run = Run(geometry, slowed(refined_settings(state, settings), descent.step_factor), mesh, groups)
        noise = mean_shot_noise_loss(state, tilts, run)
        record = _run_epoch(state, tilts, run, on_tilt)
        rises = record.loss > largest_loss(descent, record.vacuum_loss if record.epoch == 1 else None, noise)
        message = f"epoch {record.epoch} raises the loss to {record.loss:.4e}"
        if not rises or undone == MOST_HALVINGS:
            break
        before.restore_(state)
        descent.step_factor /= 2
        _warn(mesh, f"{message} and is undone; from now on all steps are {descent.step_factor:g} of those configured")
    if rises:
        _warn(mesh, f"{message} whatever the step, and is kept; steps are as long as before")
        descent.step_factor, descent.lowest_loss = factor, record.loss
    descent.loss, descent.lowest_loss = record.loss, min(record.loss, descent.lowest_loss)
    if not all(verdict.kept for verdict in record.verdicts) or settings.calibration.active(record.epoch - 1):
        descent.lowest_loss = math.inf  # what went back or was calibrated fits worse until the volume has followed
    descent.vacuum_loss = descent.vacuum_loss if record.vacuum_loss is None else record.vacuum_loss
    record.step_factor, record.undone = descent.step_factor, undone
    return record


def _warn(mesh: Mesh, message: str) -> None:
    """Log a warning once, for all ranks."""
    if mesh.world.rank == 0:
        log.warning(message)


def _run_epoch(
    state: TomographyState, tilts: Sequence[TiltPatterns], run: Run, on_tilt: Callable[[int, int], None]
) -> EpochRecord:
    start, before = Counters.now(tilts, run.mesh), refined_parameters(state)
    sums = _update_from_all_tilts(state, tilts, run, on_tilt)
    _exchange_positions(state, run)
    run.groups.end_epoch()
    positions_at_border, translations_at_limit = _at_border(state, sums, run)
    fast_error = run.mesh.world.maximum(sums.fast_error) if run.settings.fast else 0.0
    vacuum = measures_vacuum(state.epoch, run.settings)
    losses, held_out_losses, electrons, held_out_electrons, of_vacuum = run.groups.shared(sums.tilts).unbind(1)
    errors = run.groups.shared(sums.pose_errors)
    verdicts = judge_(state, run.settings, error_table(errors), partial(losses_of_held_out, tilts=tilts, run=run))
    verdicts += calibrate_and_judge_(state, tilts, run)
    _filter(state, run)
    state.epoch += 1
    fits = _weigh_tilts(state, tilts, run)
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
        fits=fits,
        changes=changes_since(before, state),
        pose_errors=errors.tolist(),
        verdicts=verdicts,
        fast_error=fast_error,
        ranks=seconds_of_ranks(seconds, run.mesh.world),
        positions_at_border=positions_at_border,
        translations_at_limit=translations_at_limit,
        vacuum_loss=of_vacuum.sum().item() / electrons.sum().item() if vacuum else None,
    )


def _update_from_all_tilts(
    state: TomographyState, tilts: Sequence[TiltPatterns], run: Run, on_tilt: Callable[[int, int], None]
) -> _EpochSums:
    """Pass over the tilts of this group, one a round, each planned while the tilt before it is computed."""
    own = run.groups.schedule(_round_order(run.groups.rounds, state.epoch, run.settings))
    sums, pose_errors = (torch.zeros((len(tilts), 5), dtype=torch.float64) for _ in range(2))
    updates, fast_error, at_border = 0, 0.0, torch.zeros(2, dtype=torch.float64)
    tilt = _plan_round(state, tilts, own[0], run)
    for round_, index in enumerate(own):
        following = _plan_round(state, tilts, own[round_ + 1], run) if round_ + 1 < len(own) else None
        if tilt is None:
            _join_updates(state, run)
            updates += run.settings.batches
        else:
            with run.mesh.world.working(f"epoch {state.epoch + 1}, tilt {tilt.patterns.name}"):
                record = update_tilt(state, tilt, run, following=following, measure_error=round_ == 0)
            losses, electrons = [record.loss, record.held_out_loss], [record.electrons, record.held_out_electrons]
            sums[tilt.index] = torch.tensor([*losses, *electrons, record.vacuum_loss], dtype=torch.float64)
            pose_errors[tilt.index] = record.pose_errors
            updates, fast_error = updates + record.updates, max(fast_error, record.fast_error)
            first_of_group = float(run.mesh.group.rank == 0)  # all of its ranks move the same translation
            at_border[0] += record.positions_at_border
            at_border[1] += first_of_group * record.translation_at_limit
        tilt = following
        _regularise_layers(state, index, run)
        on_tilt(round_ + 1, len(own))
    return _EpochSums(sums, pose_errors, updates, fast_error, at_border)


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


def _weigh_tilts(state: TomographyState, tilts: Sequence[TiltPatterns], run: Run) -> list[Fit]:
    """Reduce the weight of tilts that the volume explains much worse than others; return the fits, if measured."""
    if not run.settings.weigh_tilts or state.epoch < FIRST_WEIGHTED_EPOCH:
        return []
    fits = measure_fit(state, tilts, run, held_out=False)
    state.tilt_weights = tilt_weights(fits)
    return fits


def _exchange_positions(state: TomographyState, run: Run) -> None:
    """Give every rank the positions that the others refined.

    A training position is owned by one rank of the group, a held-out position by none.
    """
    group, settings = run.mesh.group, run.settings
    if group.size == 1 or not settings.positions.active(state.epoch):
        return
    for index, positions in enumerate(state.positions):
        training = fitted_positions(len(positions), index, settings, state.epoch)
        refined = torch.zeros_like(positions)
        own = torch.cat([own_positions(batch, group) for batch in training.tensor_split(settings.batches)])
        refined[own] = positions[own]
        group.sum_(refined)
        positions[training] = refined[training]


def _at_border(state: TomographyState, sums: _EpochSums, run: Run) -> tuple[int, int]:
    """Return how many positions and translations of all ranks are kept at the border, and warn of them."""
    if not (run.settings.positions.active(state.epoch) or run.settings.translations.active(state.epoch)):
        return 0, 0
    positions, translations = map(round, run.mesh.world.sum_(sums.at_border).tolist())
    if warning := advice(positions, translations):
        _warn(run.mesh, f"epoch {state.epoch + 1}: {warning}")
    return positions, translations
