"""One pass over the minibatches of one tilt: the inner loop of [P] Algorithm 3."""

import time
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from dptt.distributed.comm import Communicator
from dptt.distributed.partition import block_range
from dptt.kernels import backproject_slices, multislice_gradient, multislice_loss, project_slices
from dptt.model.forward import Geometry
from dptt.model.losses import Misfit
from dptt.model.state import TomographyState
from dptt.physics.patches import split_positions
from dptt.physics.potential import transmission, transmission_gradient
from dptt.physics.probe import orthogonalise_modes
from dptt.physics.rotation import rotation_matrix, sampling_map
from dptt.solvers.constraints import reduce_negative_, regularise_layers_, shrink_, typical_potential
from dptt.solvers.refinement import refine_pose_, refine_positions_
from dptt.solvers.settings import TomographySettings
from dptt.solvers.steps import precondition_slices


@runtime_checkable
class TiltPatterns(Protocol):
    """The measured patterns of one tilt, read by index and only where this rank needs them."""

    scale: float
    """Electrons per count."""
    mean_electrons: float
    """Mean electrons of a pattern, the same on all ranks."""
    mask: Bool[Tensor, "y x"] | None
    """Valid detector pixels, corner order."""
    shot_noise_loss: float
    """Loss per electron that shot noise alone leaves."""

    def read(self, indices: Tensor) -> Shaped[Tensor, "pos y x"]:
        """Return patterns in corner order, in the detector's own type."""
        ...

    def usable(self, indices: Tensor) -> Bool[Tensor, " pos"]:
        """Return which of the patterns `indices`, read before, may take part; the others are faulty."""
        ...


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite; the message names epoch, tilt and minibatch."""


class TiltUpdate:
    """One pass over the minibatches of one tilt."""

    def __init__(
        self,
        state: TomographyState,
        patterns: TiltPatterns,
        index: int,
        geometry: Geometry,
        settings: TomographySettings,
        communicator: Communicator,
        seconds: dict[str, float],
    ) -> None:
        self.state, self.patterns, self.index = state, patterns, index
        self.geometry, self.settings, self.communicator, self.seconds = geometry, settings, communicator, seconds
        self.misfit = tilt_misfit(settings, patterns, geometry)
        self.dtype = state.probes[index].dtype
        self.map = sampling_map(state.euler_angles[index], state.translations[index], geometry.voxel_size)
        self.propagator = geometry.propagator(geometry.slice_thickness, self.dtype)
        self.updates = 0

    def run(self) -> tuple[float, float, list[float]]:
        """Return the summed training and held-out losses, and the electrons of either set."""
        state, settings, index = self.state, self.settings, self.index
        num_positions = len(state.positions[index])
        training, held_out = split_held_out(num_positions, index, settings)
        batches = training.tensor_split(settings.batches)
        order = torch.randperm(len(batches), generator=random_generator(settings.seed, state.epoch, index)).tolist()
        refine_pose = settings.angles.active(state.epoch) or settings.translations.active(state.epoch)
        # The pose's gradient is taken on the volume as the tilt found it: the updates below hold the noise of the
        # very residuals they are multiplied with, which would move poses systematically.
        found = state.volume.clone() if refine_pose else state.volume
        loss = 0.0
        gradient = torch.zeros(1)
        illumination = torch.zeros(1)
        shifts = torch.zeros((num_positions, 2), dtype=torch.float64)
        for batch in order:
            if len(batches[batch]):
                self.updates += 1
                value, slice_gradient, electrons = self._update(batches[batch], batch, shifts)
                loss += value
                gradient = gradient + slice_gradient
                illumination = illumination + electrons
        tested = self._held_out_loss(held_out)
        if settings.positions.active(state.epoch):
            owned = torch.cat([self._own(batch) for batch in batches])
            refine_positions_(
                state, index, owned, shifts[owned], self.geometry, settings, self.misfit.curvature, self.communicator
            )
        if refine_pose:
            refine_pose_(state, index, found, gradient, illumination, self.geometry, settings, self.misfit.curvature)
        regularisation = settings.regularisation
        beam = rotation_matrix(state.euler_angles[index])[2].flip(0)  # R^T z, as (z, y, x)
        regularise_layers_(
            state.volume,
            self.geometry.voxel_size,
            beam.to(state.volume.real.dtype),
            regularisation.layer_weight,
            regularisation.layer_strength,
        )
        per_pattern = self.patterns.mean_electrons
        return loss, tested, [len(training) * per_pattern, len(held_out) * per_pattern]

    def _update(self, batch: Tensor, number: int, shift_gradients: Tensor) -> tuple[float, Tensor, Tensor]:
        """Update volume and probe from one minibatch; return its loss, slice gradient and illumination."""
        state, settings, geometry = self.state, self.settings, self.geometry
        mine, measured = self._read(self._own(batch))
        slices = project_slices(state.volume, self.map, geometry.num_slices, geometry.voxel_size[0])
        transmitted = transmission(slices, geometry.sigma).to(self.dtype)
        corners, shifts = self._split(mine)
        local = multislice_gradient(
            transmitted,
            state.probes[self.index],
            corners,
            shifts,
            measured,
            self.propagator,
            self.misfit,
            measured_scale=self.patterns.scale,
            chunk_bytes=settings.chunk_bytes,
        )
        gradient = transmission_gradient(local.transmission, transmitted, geometry.sigma)
        if not state.volume.is_complex():
            gradient = gradient.real.contiguous()
        shift_gradients[mine] = local.shifts.double()
        gradient, illumination, probe_gradient, loss = self._sum(
            gradient, local.illumination, local.probe, local.loss
        )
        self._check_finite(loss, f"minibatch {number}")

        update = backproject_slices(
            precondition_slices(
                gradient,
                illumination,
                curvature=self.misfit.curvature,
                sigma=geometry.sigma,
                planes=geometry.volume_shape[0],
                voxel_thickness=geometry.voxel_size[0],
            ),
            self.map,
            geometry.volume_shape,
            geometry.voxel_size[0],
        )
        state.velocity.mul_(settings.momentum).add_(update, alpha=state.tilt_weights[self.index].item())
        state.volume.add_(state.velocity, alpha=-settings.step)
        constrain_(state.volume, settings, state.epoch)
        if settings.probe.active(state.epoch):
            step = settings.probe.step / (self.misfit.curvature * len(batch))
            state.probes[self.index] = orthogonalise_modes(state.probes[self.index] - step * probe_gradient)
        return loss, gradient, illumination

    def _own(self, batch: Tensor) -> Tensor:
        """Return the positions of a batch that this rank owns."""
        mine = block_range(len(batch), self.communicator.size, self.communicator.rank)
        return batch[mine.start : mine.stop]

    def _split(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        corners, shifts = split_positions(
            self.state.positions[self.index][indices],
            self.geometry.sampling,
            self.geometry.volume_shape[1:],
            self.geometry.window_shape,
        )
        return corners, shifts.to(self.state.volume.real.dtype)

    def _read(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the usable ones of `indices`, and their patterns."""
        start = time.perf_counter()
        measured = self.patterns.read(indices)
        usable = self.patterns.usable(indices)
        if not bool(usable.all()):
            indices, measured = indices[usable], measured[usable]
        self.seconds["read"] += time.perf_counter() - start
        return indices, measured

    def _sum(
        self, gradient: Tensor, illumination: Tensor, probe: Tensor, loss: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, float]:
        """Sum what the ranks computed in one message; the probe's part travels only when it is used."""
        start = time.perf_counter()
        if not self.settings.probe.active(self.state.epoch):
            probe = probe[:0]
        parts = (probe, gradient, illumination, loss)  # complex ones first: a complex view starts at an even number
        flat = torch.cat([torch.view_as_real(p).flatten() if p.is_complex() else p.flatten() for p in parts])
        pieces = self.communicator.sum_(flat).split([p.numel() * (2 if p.is_complex() else 1) for p in parts])
        probe, gradient, illumination, loss = (
            torch.view_as_complex(piece.reshape(*p.shape, 2)) if p.is_complex() else piece.reshape(p.shape)
            for p, piece in zip(parts, pieces, strict=True)
        )
        self.seconds["communicate"] += time.perf_counter() - start
        return gradient, illumination, probe, loss.item()

    def _held_out_loss(self, held_out: Tensor) -> float:
        """Return the loss of the patterns that no update sees, with the volume as this tilt's pass left it."""
        mine = self._own(held_out)
        state, geometry = self.state, self.geometry
        total = torch.zeros(1, dtype=torch.float64)
        if len(mine):
            mine, measured = self._read(mine)
            slices = project_slices(state.volume, self.map, geometry.num_slices, geometry.voxel_size[0])
            transmitted = transmission(slices, geometry.sigma).to(self.dtype)
            corners, shifts = self._split(mine)
            total += multislice_loss(
                transmitted,
                state.probes[self.index],
                corners,
                shifts,
                measured,
                self.propagator,
                self.misfit,
                measured_scale=self.patterns.scale,
                chunk_bytes=self.settings.chunk_bytes,
            ).double()
        loss = self.communicator.sum_(total).item()
        self._check_finite(loss, "the held-out patterns")
        return loss

    def _check_finite(self, loss: float, where: str) -> None:
        if not torch.isfinite(torch.tensor(loss)):
            raise NonFiniteLossError(
                f"the loss is {loss} in epoch {self.state.epoch + 1}, tilt {self.index}, {where}; the last "
                "checkpoint is intact. Check that tilt's patterns with `dptt validate`, or reduce reconstruction.step"
            )


def tilt_misfit(settings: TomographySettings, patterns: TiltPatterns, geometry: Geometry) -> Misfit:
    """Return the loss of one tilt: its floor is a fraction of the mean electrons per pixel."""
    pixels = geometry.window_shape[0] * geometry.window_shape[1]
    return Misfit(settings.loss, settings.epsilon * patterns.mean_electrons / pixels, patterns.mask)


def constrain_(volume: Tensor, settings: TomographySettings, epoch: int) -> None:
    """Apply the constraints of one minibatch to the volume, in place ([P] eq. 17 and the ablation study)."""
    regularisation = settings.regularisation
    real = volume.real if volume.is_complex() else volume  # views: written in place
    threshold = typical_potential(volume) / settings.batches
    reduce_negative_(real, regularisation.nonnegativity)
    age = epoch - regularisation.l1_start
    if age >= 0:
        decay = 1.0 if regularisation.l1_half_life is None else 0.5 ** (age / regularisation.l1_half_life)
        shrink_(real, regularisation.l1 * decay * threshold)
    if volume.is_complex():
        if regularisation.nonnegative_absorption:
            reduce_negative_(volume.imag, 1.0)
        shrink_(volume.imag, regularisation.shrinkage * threshold)


def split_held_out(num_positions: int, tilt: int, settings: TomographySettings) -> tuple[Tensor, Tensor]:
    """Return the (training, held-out) position indices of a tilt, both ascending; the same in every epoch."""
    count = round(num_positions * settings.validation_fraction)
    shuffled = torch.randperm(num_positions, generator=random_generator(settings.seed, -1, tilt))
    return shuffled[count:].sort().values, shuffled[:count].sort().values


def random_generator(seed: int, epoch: int, tilt: int) -> torch.Generator:
    """Return the random numbers of one tilt in one epoch: the same on every rank and after a resume."""
    return torch.Generator().manual_seed(((seed * 1_000_003 + epoch + 1) * 1_000_003 + tilt + 1) % 2**63)
