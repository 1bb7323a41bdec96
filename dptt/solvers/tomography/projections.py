"""What the patterns of all tilts say of their projections, on every rank: one pass without updates.

A projection is what a tilt measures best: the sum over slices is determined far better than any one of them. The mean
over slices of dL/d(slice) is the derivative with respect to a potential that all slices share, so this is the
approximation of a thin specimen for what the volume does not explain, not for what it does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dptt.kernels import multislice_gradient
from dptt.kernels.losses import LOSSES
from dptt.model.state import TomographyState
from dptt.solvers.tomography.minibatch_update import local_batch, read_usable, sum_over_ranks
from dptt.solvers.tomography.minibatches import own_positions, random_generator
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.slice_gradient import SliceGradient
from dptt.solvers.tomography.tilt_patterns import TiltPatterns
from dptt.solvers.tomography.tilt_plan import TiltPlan, plan_tilt
from dptt.solvers.tomography.vacuum import specimen

MOST_PATTERNS = 4096
"""Of a tilt: of more, so many drawn at random tell its projection as well as an image of `MOST_PIXELS` needs."""
MOST_PIXELS = 48
"""Along x; larger images are binned."""
LIT = 0.3
"""Fraction of the largest weight from which on a pixel counts."""


@dataclass(frozen=True)
class Projections:
    """What the patterns of all tilts say of their projections; images are (tilt, y, x), y that of the specimen."""

    gradient: Float[Tensor, "tilt y x"]
    """dL/d(projected potential) [1/(V Å)] at the volume."""
    weight: Float[Tensor, "tilt y x"]
    """Bound on d²L/d(projected potential)² [1/(V Å)²]; zero where little light falls."""
    angles: Float[Tensor, "tilt 3"]
    """(phi, theta, psi) [degrees]."""
    shifts: Float[Tensor, " tilt"]
    """Of the projections along x [Å]."""
    volume: Float[Tensor, "z y x"]
    """Re V [V], with the vacuum at zero."""
    specimen: Float[Tensor, "z y x"]
    """How much a voxel belongs to it, from 0 to 1."""
    voxel_size: tuple[float, float, float]
    bins: int
    """Elements of the reconstruction along every side of a voxel."""
    likelihood: float
    """The c of the loss, which is the negative log likelihood times c/4."""

    def coordinates(self, axis: int) -> Float[Tensor, " n"]:
        """Return those of the voxels along an axis (z, y, x) from the rotation centre [Å]."""
        number, size = self.volume.shape[axis], self.voxel_size[axis]
        return (torch.arange(number, dtype=torch.float64) - number // 2 + (1 - 1 / self.bins) / 2) * size


def projections(state: TomographyState, tilts: Sequence[TiltPatterns], run: Run) -> Projections:
    """Return the projections of a finished volume, the same on all ranks; the state is not changed."""
    height, width = run.geometry.volume_shape[1:]
    images = torch.zeros((len(tilts), 2, height, width), dtype=torch.float64)
    for index in run.groups.own:
        tilt = plan_tilt(state, tilts[index], index, run)
        with run.mesh.world.working(f"the projection of tilt {tilt.patterns.name}"):
            images[index] = run.rows.whole(_gradient_and_weight(state, tilt, run)).double().cpu()
    images = run.groups.shared(images)
    pixel = run.geometry.voxel_size[1]
    for image, along_y in zip(images, (state.translations[:, 0] / pixel).round().long().tolist(), strict=True):
        image.copy_(image.roll(-along_y, 1))  # rows of the image become those of the specimen
    gradient, weight = images.unbind(1)
    weight = weight * (weight > LIT * weight.amax((1, 2), keepdim=True))
    factor = math.ceil(width / MOST_PIXELS)
    real = state.volume.real if state.volume.is_complex() else state.volume
    shape, potential = (
        block_sums(run.rows.whole(block_sums(part, (factor, 1, factor))).double().cpu(), (1, factor, 1)) / factor**3
        for part in (specimen(real, run.rows, run.mesh), real)
    )
    return Projections(
        gradient=block_sums(gradient * (weight > 0), (1, factor, factor)),
        weight=block_sums(weight, (1, factor, factor)),
        angles=state.euler_angles,
        shifts=state.translations[:, 1],
        volume=potential - ((1 - shape) * potential).sum() / (1 - shape).sum(),
        specimen=shape,
        voxel_size=tuple(size * factor for size in run.geometry.voxel_size),  # type: ignore[arg-type]
        bins=factor,
        likelihood=LOSSES[run.settings.loss].curvature,
    )


def _gradient_and_weight(state: TomographyState, tilt: TiltPlan, run: Run) -> Float[Tensor, "2 y x"]:
    """Return gradient and weight of one tilt, this rank's rows, from the patterns that were fitted."""
    gradient = illumination = torch.zeros(1, device=state.volume.device)
    for batch in _sampled(tilt, run.settings.seed):
        own, measured = read_usable(tilt.patterns, own_positions(batch, run.mesh.group))
        waves, wanted = local_batch(state, tilt, run, batch=batch, own=own, measured=measured)
        slices = SliceGradient(waves.transmission, run.geometry.sigma, state.volume.dtype)
        local = multislice_gradient(waves, run.settings.chunk_bytes, slices.add)
        by_slice, lit, _, _ = sum_over_ranks(local, slices, wanted, run, False)
        gradient, illumination = gradient + by_slice.real.mean(0), illumination + lit
    return torch.stack([gradient, tilt.curvature * run.geometry.sigma**2 * illumination])


def _sampled(tilt: TiltPlan, seed: int) -> list[Int[Tensor, " _"]]:
    """Return the minibatches of a tilt, without a part of their patterns if it has more than `MOST_PATTERNS`."""
    batches = [tilt.batches[number] for number in tilt.order]
    number = sum(map(len, batches))
    if number <= MOST_PATTERNS:
        return batches
    generator = random_generator(seed, -4, tilt.index)
    kept = [torch.rand(len(batch), generator=generator) < MOST_PATTERNS / number for batch in batches]
    return [batch[some] for batch, some in zip(batches, kept, strict=True) if some.any()]


def block_sums(tensor: Float[Tensor, "z y x"], factors: tuple[int, int, int]) -> Float[Tensor, "_ _ _"]:
    """Return sums over blocks of `factors` elements, one of which begins at n//2 along every axis."""
    for axis, factor in enumerate(factors):
        if factor > 1:
            half = tensor.shape[axis] // 2
            before = -half % factor
            padding = [0, 0] * (2 - axis) + [before, -(before + tensor.shape[axis]) % factor]
            tensor = torch.nn.functional.pad(tensor, padding).unfold(axis, factor, factor).sum(-1)
    return tensor
