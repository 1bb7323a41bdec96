"""One minibatch: its gradients on this rank, their sums over ranks, and the steps of volume and probe.

read the patterns of this rank's positions, and begin to read the next ones
fetch the slice rows under these positions                     from the ranks that own them
multislice forward and adjoint                                 [P] eq. 14-16, 18
sum the gradients of slices, probe and loss                    over ranks
step of the volume, then of the probe
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float, Inexact, Int, Shaped
from torch import Tensor

from dptt.distributed.comm import Communicator
from dptt.kernels import Batch, MultisliceGradient, multislice_gradient
from dptt.model.calibration import pattern_shifts
from dptt.model.forward import Geometry
from dptt.model.state import TomographyState
from dptt.model.transfer import chosen_patterns
from dptt.physics.multislice import diffraction_intensity
from dptt.physics.patches import split_positions
from dptt.physics.potential import transmission
from dptt.physics.probe import detector_shift, orthogonalise_modes, resample_probe
from dptt.solvers.tomography.guard import measures_vacuum
from dptt.solvers.tomography.illumination import slice_illumination
from dptt.solvers.tomography.minibatches import own_positions
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.slice_gradient import SliceGradient
from dptt.solvers.tomography.steps import precondition_slices, probe_step
from dptt.solvers.tomography.tilt_patterns import TiltPatterns
from dptt.solvers.tomography.tilt_plan import TiltPlan
from dptt.solvers.tomography.tilted_volume import bands, within_band
from dptt.solvers.tomography.volume_update import descend_

VACUUM_PATTERNS = 64
"""Compared with vacuum at once."""


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite; the message names epoch, tilt and minibatch."""


@dataclass(frozen=True)
class MinibatchRecord:
    """What an update leaves for the refinement of positions and pose."""

    loss: float
    """Summed over the ranks of the group [electrons]."""
    slice_gradient: Inexact[Tensor, "slice y x"]
    """dL/d(projected potential) of this rank's rows [1/(V Å)], summed over the ranks of the group."""
    illumination: Float[Tensor, "y x"]
    """At the entrance plane, of this rank's rows [electrons per voxel], summed likewise."""
    positions: Int[Tensor, " own"]
    """Those that this rank computed."""
    position_gradient: Float[Tensor, "own 2"]
    """dL/d(position) [1/voxel]."""
    fast_error: float
    """Relative error of the slice gradient by half precision; 0 if it was not measured."""
    vacuum_loss: float
    """Of this rank's patterns with an empty volume [electrons]; 0 if it was not measured."""


def update_from_minibatch_(
    state: TomographyState,
    tilt: TiltPlan,
    run: Run,
    *,
    number: int,
    upcoming: Int[Tensor, " _"],
    measure_error: bool,
) -> MinibatchRecord:
    """Update volume and probe from minibatch `number`, in place.

    `upcoming` are the positions that are read next. With `measure_error` the gradient is also computed in single
    precision.

    Raises
    ------
    NonFiniteLossError
        On every rank of the group.
    """
    settings, group, batch = run.settings, run.mesh.group, tilt.batches[number]
    own, measured = read_usable(tilt.patterns, own_positions(batch, group))
    tilt.patterns.prefetch(own_positions(upcoming, group))
    waves, wanted = local_batch(state, tilt, run, batch=batch, own=own, measured=measured)
    early = group if sums_early(run, state.volume.device) else None
    slices = SliceGradient(waves.transmission, run.geometry.sigma, state.volume.dtype, early)
    local = multislice_gradient(waves, settings.chunk_bytes, slices.add)
    vacuum_loss = _vacuum_loss(waves).item() if measures_vacuum(state.epoch, settings) else 0.0
    fast_error = _error_of_half_precision(waves, local, settings.chunk_bytes) if measure_error else 0.0
    position_gradient = local.shifts.double().cpu() * run.geometry.pixels_per_voxel
    refine_probe = settings.probe.active(state.epoch)
    gradient, illumination, probe_gradient, loss = sum_over_ranks(local, slices, wanted, run, refine_probe)
    check_finite(loss, f"epoch {state.epoch + 1}, tilt {tilt.patterns.name}, minibatch {number}")
    preconditioned = _newton_slices(gradient, state, tilt, run, batch)
    preconditioned.mul_(state.tilt_weights[tilt.index].item())
    descend_(state, run, tilted=tilt.tilted, slices=preconditioned)
    if refine_probe and len(batch):
        step = _within_detector(probe_step(probe_gradient, tilt.curvature, len(batch)), run.geometry)
        state.probes[tilt.index] = orthogonalise_modes(state.probes[tilt.index] - settings.probe.step * step)
    return MinibatchRecord(loss, gradient, illumination, own, position_gradient, fast_error, vacuum_loss)


def _within_detector(probe: Complex[Tensor, "mode y x"], geometry: Geometry) -> Complex[Tensor, "mode y x"]:
    """Return a change of the probe without angles that padding adds: no pattern determines the probe there."""
    return (
        probe if geometry.pixels is None else resample_probe(geometry.probe_on_voxels(probe), geometry.window_shape)
    )


def _newton_slices(
    gradient: Inexact[Tensor, "slice y x"], state: TomographyState, tilt: TiltPlan, run: Run, batch: Int[Tensor, " _"]
) -> Inexact[Tensor, "slice y x"]:
    """Return the slice `gradient` divided by the bound on its curvature; patterns left out as faulty count in it."""
    geometry, probe, propagator = run.geometry.on_voxels, state.probes[tilt.index], tilt.propagator
    if run.geometry.pixels is not None:
        propagator = geometry.propagator(geometry.slice_thickness, probe.dtype).to(probe.device)
    corners, shifts = _split(state, tilt, geometry, batch)
    illumination, maxima = slice_illumination(
        run.geometry.probe_on_voxels(probe),
        propagator,
        geometry.num_slices,
        corners=corners.to(gradient.device),
        shifts=shifts.to(gradient.device),
        image_shape=geometry.volume_shape[1:],
        rows=run.rows.own,
    )
    return precondition_slices(
        gradient,
        illumination,
        maximum_illumination=maxima,
        curvature=tilt.curvature,
        sigma=geometry.sigma,
        planes=geometry.volume_shape[0],
        voxel_thickness=geometry.voxel_size[0],
    )


def read_usable(
    patterns: TiltPatterns, indices: Int[Tensor, " _"]
) -> tuple[Int[Tensor, " pos"], Shaped[Tensor, "pos y x"]]:
    """Read the patterns `indices`; return the indices of those that are not faulty, and these patterns."""
    measured = patterns.read(indices)
    usable = patterns.usable(indices)
    if not bool(usable.all()):
        indices, measured = indices[usable], chosen_patterns(measured, usable)
    return indices, measured


def local_batch(
    state: TomographyState,
    tilt: TiltPlan,
    run: Run,
    *,
    batch: Int[Tensor, " _"],
    own: Int[Tensor, " pos"],
    measured: Shaped[Tensor, "pos y x"],
    halo: int = 0,
) -> tuple[Batch, list[range]]:
    """Return this rank's share of a minibatch as the kernels take it, and the band of slice rows of every slab rank.

    `own` are this rank's usable positions of `batch`, and `measured` their patterns. A rank fetches the rows of the
    slices under its positions only, and `halo` rows around them.
    """
    geometry, slab, device = run.geometry, run.mesh.slab, state.volume.device
    wanted = [range(run.rows.length)] * slab.size  # for finer pixels whole slices are interpolated
    if slab.size > 1 and geometry.pixels is None:
        first = run.mesh.group.rank - slab.rank
        shares = [own_positions(batch, run.mesh.group, first + rank) for rank in range(slab.size)]
        corners_of_ranks = [_split(state, tilt, geometry, share)[0] - halo for share in shares]
        wanted = bands(corners_of_ranks, geometry.window_shape[0] + 2 * halo, run.rows.length)
    slices = geometry.refined(run.rows.fetch(tilt.tilted.slices(state.volume, geometry.num_slices), wanted))
    corners, shifts = _split(state, tilt, geometry, own)
    displaced = pattern_shifts(state.calibration[tilt.index], state.positions[tilt.index][own])
    net, scale = tilt.misfit.net(measured.to(device), tilt.patterns.scale, state.probes[tilt.index].real.dtype)
    local = Batch(
        transmission=transmission(slices, geometry.sigma).to(state.probes[tilt.index].dtype),
        probe=state.probes[tilt.index],
        corners=within_band(corners, wanted[slab.rank]).to(device),
        shifts=shifts.to(device),
        measured=net,
        propagator=tilt.propagator,
        loss=tilt.misfit,
        measured_scale=scale,
        pattern_shifts=None if displaced is None else displaced.to(device, shifts.dtype),
        fast=run.settings.fast,
    )
    return local, wanted


def _vacuum_loss(batch: Batch) -> Float[Tensor, ""]:
    """Return the summed loss of a batch without a specimen: |F psi|² at every position."""
    intensity = diffraction_intensity(batch.probe)
    total = intensity.new_zeros((), dtype=torch.float64)
    for some in torch.arange(len(batch.measured)).split(VACUUM_PATTERNS):
        if batch.pattern_shifts is not None:
            along_y, along_x = batch.pattern_shifts[some].unbind(1)
            turn = detector_shift(batch.window, along_y, along_x)[:, None]
            intensity = diffraction_intensity(batch.probe * turn.to(batch.probe.dtype))
        electrons = batch.measured[some].to(intensity.dtype) * batch.measured_scale
        total += batch.loss(intensity.expand_as(electrons), electrons)[0]
    return total


def sums_early(run: Run, device: torch.device) -> bool:
    """Return whether slices are summed over ranks while others are computed: only a GPU does both at once."""
    return device.type == "cuda" and run.mesh.slab.size == 1 < run.mesh.group.size


def check_finite(loss: float, where: str) -> None:
    """Raise NonFiniteLossError, which names `where`, if the loss is NaN or infinite."""
    if not math.isfinite(loss):
        raise NonFiniteLossError(
            f"the loss is {loss} in {where}; the last checkpoint is intact. Check that tilt's patterns with "
            "`dptt validate`, or reduce reconstruction.step"
        )


def _error_of_half_precision(batch: Batch, fast: MultisliceGradient, chunk_bytes: int | None) -> float:
    """Return the relative error of a slice gradient that was computed with products of half precision."""
    exact = multislice_gradient(replace(batch, fast=False), chunk_bytes).transmission
    return ((fast.transmission - exact).norm() / exact.norm().clamp_min(1e-30)).item()


def _split(
    state: TomographyState, tilt: TiltPlan, geometry: Geometry, indices: Int[Tensor, " pos"]
) -> tuple[Int[Tensor, "pos 2"], Float[Tensor, "pos 2"]]:
    """Return the window corners of scan positions and the remaining shifts [pixels]."""
    positions = state.positions[tilt.index][indices]
    corners, shifts = split_positions(positions, geometry.sampling, geometry.image_shape, geometry.window_shape)
    return corners, shifts.to(state.volume.real.dtype)


def sum_over_ranks(
    local: MultisliceGradient, slices: SliceGradient, wanted: Sequence[range], run: Run, refine_probe: bool
) -> tuple[Inexact[Tensor, "slice y x"], Float[Tensor, "y x"], Tensor, float]:
    """Return slice gradient, illumination, probe gradient and loss, summed over the ranks that share them.

    Rows are summed over the ranks that hold the same ones, probe and loss over the group: with one slab these are the
    same ranks, and one message. The probe's gradient is sent only if it is used. Slice gradients that were summed
    early are complete.
    """
    mesh, early = run.mesh, slices.summed
    coarsened = run.geometry.coarsened
    gradient = run.rows.give_back(coarsened(slices.total()), wanted)
    illumination = run.rows.give_back(coarsened(local.illumination[None]), wanted)[0]
    probe, loss = local.probe if refine_probe else local.probe[:0], local.loss
    if early:
        probe, illumination, loss = summed(mesh.group, probe, illumination, loss)
    elif mesh.slab.size == 1:
        probe, gradient, illumination, loss = summed(mesh.group, probe, gradient, illumination, loss)
    else:
        gradient, illumination = summed(mesh.scan, gradient, illumination)
        probe, loss = summed(mesh.group, probe, loss)
    return gradient, illumination, probe, loss.item()


def summed(communicator: Communicator, *tensors: Tensor) -> list[Tensor]:
    """Return the sums over ranks of several tensors, complex ones first, sent as one message."""
    flat = torch.cat([torch.view_as_real(t).flatten() if t.is_complex() else t.flatten() for t in tensors])
    sums = communicator.sum_(flat).split([t.numel() * (2 if t.is_complex() else 1) for t in tensors])
    return [
        torch.view_as_complex(values.reshape(*t.shape, 2)) if t.is_complex() else values.reshape(t.shape)
        for t, values in zip(tensors, sums, strict=True)
    ]
