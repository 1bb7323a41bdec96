"""One pass over the minibatches of one tilt: the inner loop of [P] Algorithm 3."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from dptt.model.state import TomographyState
from dptt.solvers.tomography.held_out import own_loss
from dptt.solvers.tomography.minibatch_update import check_finite, read_usable, update_from_minibatch_
from dptt.solvers.tomography.minibatches import own_positions
from dptt.solvers.tomography.refinement import refine_pose_, refine_positions_
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.tilt_plan import TiltPlan


@dataclass(frozen=True)
class TiltRecord:
    """What a pass over one tilt did; losses and electrons are sums over its patterns, the same on all its ranks."""

    loss: float
    electrons: float
    held_out_loss: float
    held_out_electrons: float
    vacuum_loss: float
    """Of the training patterns, with an empty volume; 0 if it was not measured."""
    positions_at_border: int
    """Of this rank, that refinement would have moved out of the volume."""
    translation_at_limit: bool
    updates: int
    fast_error: float
    """Relative error of this rank's slice gradient by half precision in the first minibatch, if measured."""
    pose_errors: Float[Tensor, "5"]
    """Of `refinement.refine_pose_`; zero if the pose is not refined."""


@dataclass(frozen=True)
class _Sums:
    """Sums over the minibatches of a tilt."""

    loss: float
    slice_gradient: Inexact[Tensor, "..."]
    illumination: Float[Tensor, "..."]
    position_gradient: Float[Tensor, "pos 2"]
    """Only of the positions of this rank."""
    vacuum_loss: float
    """Only of the patterns of this rank."""
    updates: int
    fast_error: float


def update_tilt(
    state: TomographyState,
    tilt: TiltPlan,
    run: Run,
    *,
    following: TiltPlan | None = None,
    measure_error: bool = False,
) -> TiltRecord:
    """Update the volume and the parameters of one tilt from all its minibatches, in place.

    Parameters
    ----------
    following
        The tilt after this one: its first patterns are read while the last ones of this tilt are computed.
    measure_error
        Also compute the first minibatch in single precision, if `settings.fast`.

    Raises
    ------
    NonFiniteLossError
        On every rank of the tilt group, as soon as a loss is not finite.
    """
    settings = run.settings
    refine_pose = settings.angles.active(state.epoch) or settings.translations.active(state.epoch)
    # The pose's gradient is taken on the volume before this tilt's updates: these hold the noise of the very
    # residuals that they are multiplied with, which would move poses systematically.
    volume_before = state.volume.clone() if refine_pose else state.volume
    sums = _update_from_all_minibatches(state, tilt, run, measure_error)
    held_out_loss, vacuum_loss = _held_out_loss(state, tilt, run, following, sums.vacuum_loss)
    at_border, at_limit = 0, False
    if settings.positions.active(state.epoch):
        owned = torch.cat([own_positions(batch, run.mesh.group) for batch in tilt.batches])
        at_border = refine_positions_(state, tilt, run, owned=owned, gradient=sums.position_gradient[owned])
    pose_errors = torch.zeros(5, dtype=torch.float64)
    if refine_pose:
        pose_errors, at_limit = refine_pose_(
            state,
            tilt,
            run,
            volume=volume_before,
            slice_gradient=sums.slice_gradient,
            illumination=sums.illumination,
        )
    return TiltRecord(
        loss=sums.loss,
        electrons=sum(map(len, tilt.batches)) * tilt.patterns.mean_electrons,
        held_out_loss=held_out_loss,
        held_out_electrons=len(tilt.held_out) * tilt.patterns.mean_electrons,
        vacuum_loss=vacuum_loss,
        positions_at_border=at_border,
        translation_at_limit=at_limit,
        updates=sums.updates,
        fast_error=sums.fast_error,
        pose_errors=pose_errors,
    )


def prefetch_first(tilt: TiltPlan, run: Run) -> None:
    """Begin to read the patterns of a tilt's first minibatch while another tilt is computed."""
    tilt.patterns.prefetch(own_positions(tilt.batches[tilt.order[0]], run.mesh.group))


def _update_from_all_minibatches(state: TomographyState, tilt: TiltPlan, run: Run, measure_error: bool) -> _Sums:
    """Update volume and probe from one minibatch after the other."""
    loss, vacuum_loss, updates, fast_error = 0.0, 0.0, 0, 0.0
    slice_gradient = torch.zeros(1, device=state.volume.device)
    illumination = torch.zeros(1, device=state.volume.device)
    position_gradient = torch.zeros((len(state.positions[tilt.index]), 2), dtype=torch.float64)
    for place, number in enumerate(tilt.order):
        if not len(tilt.batches[number]) and run.mesh.tilt.size == 1:
            continue  # fewer positions than minibatches; tilt groups must keep step
        record = update_from_minibatch_(
            state,
            tilt,
            run,
            number=number,
            upcoming=tilt.batch_after(place),
            measure_error=measure_error and run.settings.fast and updates == 0,
        )
        updates += 1
        loss += record.loss
        vacuum_loss += record.vacuum_loss
        slice_gradient = slice_gradient + record.slice_gradient
        illumination = illumination + record.illumination
        position_gradient[record.positions] = record.position_gradient
        fast_error = max(fast_error, record.fast_error)
    return _Sums(loss, slice_gradient, illumination, position_gradient, vacuum_loss, updates, fast_error)


def _held_out_loss(
    state: TomographyState, tilt: TiltPlan, run: Run, following: TiltPlan | None, own_vacuum_loss: float
) -> tuple[float, float]:
    """Return the loss of the patterns that no update uses, with the volume after the updates of this tilt.

    Also sum the loss of vacuum over the ranks, in the same message.
    """
    group, total = run.mesh.group, torch.tensor([0.0, own_vacuum_loss], dtype=torch.float64)
    if len(tilt.held_out):
        own, measured = read_usable(tilt.patterns, own_positions(tilt.held_out, group))
    if following:
        prefetch_first(following, run)
    if len(tilt.held_out):
        total[0] = own_loss(state, tilt, run, tilt.held_out, own, measured)
    loss, vacuum_loss = group.sum_(total).tolist()
    check_finite(loss, f"epoch {state.epoch + 1}, tilt {tilt.patterns.name}, the held-out patterns")
    return loss, vacuum_loss
