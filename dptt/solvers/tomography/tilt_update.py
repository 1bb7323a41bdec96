"""One pass over the minibatches of one tilt: the inner loop of [P] Algorithm 3."""

from dataclasses import replace

import torch
from torch import Tensor

from dptt.distributed.comm import Communicator
from dptt.distributed.mesh import Mesh
from dptt.distributed.partition import block_range
from dptt.distributed.slabs import Rows
from dptt.kernels import Batch, multislice_gradient, multislice_loss
from dptt.model.forward import Geometry
from dptt.model.state import TomographyState
from dptt.model.transfer import chosen_patterns
from dptt.physics.patches import split_positions
from dptt.physics.potential import transmission
from dptt.physics.probe import orthogonalise_modes
from dptt.physics.rotation import sampling_map
from dptt.solvers.tomography.minibatches import random_generator, split_held_out
from dptt.solvers.tomography.refinement import refine_pose_, refine_positions_
from dptt.solvers.tomography.settings import TomographySettings
from dptt.solvers.tomography.slice_gradient import SliceGradient
from dptt.solvers.tomography.steps import precondition_slices
from dptt.solvers.tomography.stopwatch import Stopwatch
from dptt.solvers.tomography.tilt_groups import TiltGroups
from dptt.solvers.tomography.tilt_patterns import TiltPatterns, tilt_misfit
from dptt.solvers.tomography.tilted_volume import TiltedVolume, bands, within_band
from dptt.solvers.tomography.volume_update import descend_


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
        mesh: Mesh,
        groups: TiltGroups,
        seconds: Stopwatch,
    ) -> None:
        self.state, self.patterns, self.index = state, patterns, index
        self.geometry, self.settings, self.mesh, self.groups, self.seconds = geometry, settings, mesh, groups, seconds
        self.device, self.dtype = state.volume.device, state.probes[index].dtype
        self.misfit = tilt_misfit(settings, patterns, geometry, self.device)
        self.rows = Rows(geometry.volume_shape[1], mesh.slab)
        map_ = sampling_map(state.euler_angles[index], state.translations[index], geometry.voxel_size)
        self.tilted = TiltedVolume(map_, geometry, self.rows)
        self.propagator = geometry.propagator(geometry.slice_thickness, self.dtype).to(self.device)
        training, self.held_out = split_held_out(len(state.positions[index]), index, settings)
        self.batches = training.tensor_split(settings.batches)
        generator = random_generator(settings.seed, state.epoch, index)
        self.order: list[int] = torch.randperm(len(self.batches), generator=generator).tolist()
        self.updates = 0
        self.fast_error = 0.0
        """Relative error that half precision makes in the gradient of the slices, if `run` was asked for it."""

    def run(
        self, following: "TiltUpdate | None" = None, measure_error: bool = False
    ) -> tuple[float, float, list[float]]:
        """Return the summed training and held-out losses, and the electrons of either set.

        `following` is the pass after this one: its first patterns are read while the last ones are computed.
        With `measure_error` the first minibatch is also computed in single precision, if it was not.
        """
        state, settings, index = self.state, self.settings, self.index
        refine_pose = settings.angles.active(state.epoch) or settings.translations.active(state.epoch)
        # The pose's gradient is taken on the volume as the tilt found it: the updates below hold the noise of the
        # very residuals they are multiplied with, which would move poses systematically.
        found = state.volume.clone() if refine_pose else state.volume
        loss = 0.0
        gradient = torch.zeros(1, device=self.device)
        illumination = torch.zeros(1, device=self.device)
        shifts = torch.zeros((len(state.positions[index]), 2), dtype=torch.float64)
        for number, batch in enumerate(self.order):
            if not len(self.batches[batch]) and self.mesh.tilt.size == 1:
                continue  # fewer positions than minibatches; tilt groups must keep step
            self.updates += 1
            upcoming = self.batches[self.order[number + 1]] if number + 1 < len(self.order) else self.held_out
            measured = measure_error and self.settings.fast and self.updates == 1
            value, slice_gradient, electrons = self._update(self.batches[batch], batch, shifts, upcoming, measured)
            loss += value
            gradient = gradient + slice_gradient
            illumination = illumination + electrons
        tested = self._held_out_loss(following)
        if settings.positions.active(state.epoch):
            owned = torch.cat([self._own(batch) for batch in self.batches])
            refine_positions_(
                state, index, owned, shifts[owned], self.tilted, settings, self.misfit.curvature, self.mesh
            )
        if refine_pose:
            refine_pose_(
                state, index, found, gradient, illumination, self.tilted, settings, self.misfit.curvature, self.mesh
            )
        per_pattern = self.patterns.mean_electrons
        trained = sum(map(len, self.batches))
        return loss, tested, [trained * per_pattern, len(self.held_out) * per_pattern]

    def prefetch(self) -> None:
        """Have the patterns of the first minibatch read while another tilt is computed."""
        self.patterns.prefetch(self._own(self.batches[self.order[0]]))

    def _update(
        self, batch: Tensor, number: int, shift_gradients: Tensor, upcoming: Tensor, measure_error: bool
    ) -> tuple[float, Tensor, Tensor]:
        """Update volume and probe from one minibatch; return its loss, slice gradient and illumination."""
        state, settings, geometry = self.state, self.settings, self.geometry
        mine, measured = self._read(self._own(batch))
        self.patterns.prefetch(self._own(upcoming))
        seen, bands = self._seen(batch, mine, measured)
        early = self.mesh.group if self._sums_early else None
        slices = SliceGradient(seen.transmission, geometry.sigma, state.volume.dtype, early)
        local = multislice_gradient(seen, settings.chunk_bytes, slices.add)
        if measure_error:
            exact = multislice_gradient(replace(seen, fast=False), settings.chunk_bytes).transmission
            self.fast_error = ((local.transmission - exact).norm() / exact.norm().clamp_min(1e-30)).item()
        shift_gradients[mine] = local.shifts.double().cpu()
        with self.seconds.of("communicate"):
            gradient = self.rows.give_back(slices.total(), bands)
            illumination = self.rows.give_back(local.illumination[None], bands)[0]
            gradient, illumination, probe_gradient, loss = self._sum(gradient, illumination, local.probe, local.loss)
            brightest = self.mesh.slab.maximum(illumination.max().item())
        self._check_finite(loss, f"minibatch {number}")

        preconditioned = precondition_slices(
            gradient,
            illumination,
            brightest=brightest,
            curvature=self.misfit.curvature,
            sigma=geometry.sigma,
            planes=geometry.volume_shape[0],
            voxel_thickness=geometry.voxel_size[0],
        )
        preconditioned.mul_(state.tilt_weights[self.index].item())
        descend_(state, self.tilted, preconditioned, settings, self.mesh, self.groups, self.seconds)
        if settings.probe.active(state.epoch) and len(batch):
            step = settings.probe.step / (self.misfit.curvature * len(batch))
            state.probes[self.index] = orthogonalise_modes(state.probes[self.index] - step * probe_gradient)
        return loss, gradient, illumination

    @property
    def _sums_early(self) -> bool:
        """Return whether slices are summed over ranks while others are computed: only a GPU does both at once."""
        return self.device.type == "cuda" and self.mesh.slab.size == 1 < self.mesh.group.size

    def _own(self, batch: Tensor, rank: int | None = None) -> Tensor:
        """Return the positions of a batch that a rank of the group owns, this one if left out."""
        group = self.mesh.group
        mine = block_range(len(batch), group.size, group.rank if rank is None else rank)
        return batch[mine.start : mine.stop]

    def _seen(self, batch: Tensor, mine: Tensor, measured: Tensor) -> tuple[Batch, list[range]]:
        """Return this rank's positions `mine` with the band of slice rows under them, and the bands of all ranks."""
        height, slab = self.rows.length, self.mesh.slab
        wanted = [range(height)]
        if slab.size > 1:
            first = self.mesh.group.rank - slab.rank
            shares = [self._split(self._own(batch, first + rank))[0] for rank in range(slab.size)]
            wanted = bands(shares, self.geometry.window_shape[0], height)
        slices = self.tilted.slices(self.state.volume, self.geometry.num_slices)
        with self.seconds.of("communicate"):
            slices = self.rows.fetch(slices, wanted)
        corners, shifts = self._split(mine)
        seen = Batch(
            transmission(slices, self.geometry.sigma).to(self.dtype),
            self.state.probes[self.index],
            within_band(corners, wanted[slab.rank]).to(self.device),
            shifts.to(self.device),
            measured.to(self.device),
            self.propagator,
            self.misfit,
            self.patterns.scale,
            self.settings.fast,
        )
        return seen, wanted

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
        with self.seconds.of("read"):
            measured = self.patterns.read(indices)
            usable = self.patterns.usable(indices)
        if not bool(usable.all()):
            indices, measured = indices[usable], chosen_patterns(measured, usable)
        return indices, measured

    def _sum(
        self, gradient: Tensor, illumination: Tensor, probe: Tensor, loss: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, float]:
        """Sum what the ranks computed and did not sum early; the probe's part travels only when it is used.

        Rows are summed over the ranks that hold the same ones, probe and loss over the group: with one slab these are
        the same ranks, and one message.
        """
        if not self.settings.probe.active(self.state.epoch):
            probe = probe[:0]
        if self._sums_early:
            probe, illumination, loss = summed(self.mesh.group, probe, illumination, loss)
        elif self.mesh.slab.size == 1:
            probe, gradient, illumination, loss = summed(self.mesh.group, probe, gradient, illumination, loss)
        else:
            gradient, illumination = summed(self.mesh.scan, gradient, illumination)
            probe, loss = summed(self.mesh.group, probe, loss)
        return gradient, illumination, probe, loss.item()

    def _held_out_loss(self, following: "TiltUpdate | None") -> float:
        """Return the loss of the patterns that no update sees, with the volume as this tilt's pass left it."""
        total = torch.zeros(1, dtype=torch.float64)
        if len(self.held_out):
            mine, measured = self._read(self._own(self.held_out))
        if following:
            following.prefetch()
        if len(self.held_out):
            seen, _ = self._seen(self.held_out, mine, measured)
            total += multislice_loss(seen, self.settings.chunk_bytes).double().cpu()
        with self.seconds.of("communicate"):
            loss = self.mesh.group.sum_(total).item()
        self._check_finite(loss, "the held-out patterns")
        return loss

    def _check_finite(self, loss: float, where: str) -> None:
        if not torch.isfinite(torch.tensor(loss)):
            raise NonFiniteLossError(
                f"the loss is {loss} in epoch {self.state.epoch + 1}, tilt {self.patterns.name}, {where}; the last "
                "checkpoint is intact. Check that tilt's patterns with `dptt validate`, or reduce reconstruction.step"
            )


def summed(communicator: Communicator, *parts: Tensor) -> list[Tensor]:
    """Return the sums over ranks of several tensors, complex ones first, sent as one message."""
    flat = torch.cat([torch.view_as_real(p).flatten() if p.is_complex() else p.flatten() for p in parts])
    pieces = communicator.sum_(flat).split([p.numel() * (2 if p.is_complex() else 1) for p in parts])
    return [
        torch.view_as_complex(piece.reshape(*p.shape, 2)) if p.is_complex() else piece.reshape(p.shape)
        for p, piece in zip(parts, pieces, strict=True)
    ]
