"""What one pass over a tilt needs, prepared before the pass begins."""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Int
from torch import Tensor

from dptt.model.losses import Misfit
from dptt.model.state import TomographyState
from dptt.physics.multislice import diffraction_intensity
from dptt.physics.rotation import sampling_map
from dptt.solvers.tomography.minibatches import fitted_positions, random_generator, split_held_out
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.tilt_patterns import TiltPatterns, tilt_misfit
from dptt.solvers.tomography.tilted_volume import TiltedVolume


@dataclass(frozen=True)
class TiltPlan:
    """One tilt in one epoch: its patterns, its pose, its loss, and the order of its minibatches."""

    index: int
    """Of the tilt in the state."""
    patterns: TiltPatterns
    misfit: Misfit
    curvature: float
    """Of the loss with respect to an amplitude, see `Misfit.curvature`."""
    tilted: TiltedVolume
    """The volume in the pose of this tilt."""
    propagator: Complex[Tensor, "y x"]
    """Between slices."""
    batches: tuple[Int[Tensor, " _"], ...]
    """Training positions of every minibatch."""
    order: tuple[int, ...]
    """In which the minibatches are used."""
    held_out: Int[Tensor, " _"]
    """Positions that no update uses."""

    def batch_after(self, place: int) -> Int[Tensor, " _"]:
        """Return the positions that are read after the minibatch in this place of the order."""
        return self.batches[self.order[place + 1]] if place + 1 < len(self.order) else self.held_out


def plan_tilt(state: TomographyState, patterns: TiltPatterns, index: int, run: Run) -> TiltPlan:
    """Return the plan of the pass over tilt `index` in the present epoch; no pattern is read."""
    geometry, settings, device = run.geometry, run.settings, state.volume.device
    map_ = sampling_map(state.euler_angles[index], state.translations[index], geometry.voxel_size)
    number = len(state.positions[index])
    _, held_out = split_held_out(number, index, settings)
    training = fitted_positions(number, index, settings, state.epoch)
    batches = training.tensor_split(settings.batches)
    generator = random_generator(settings.seed, state.epoch, index)
    misfit = tilt_misfit(settings, patterns, geometry, device, calibration=state.calibration[index])
    return TiltPlan(
        index=index,
        patterns=patterns,
        misfit=misfit,
        curvature=misfit.curvature(diffraction_intensity(state.probes[index]).max().item()),
        tilted=TiltedVolume(map_, geometry, run.rows),
        propagator=geometry.propagator(geometry.slice_thickness, state.probes[index].dtype).to(device),
        batches=batches,
        order=tuple(torch.randperm(len(batches), generator=generator).tolist()),
        held_out=held_out,
    )
