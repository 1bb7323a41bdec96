"""How well the volume explains each tilt, in units of shot noise: one pass over a sample of the scan positions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Int
from torch import Tensor

from dptt.distributed.mesh import Mesh
from dptt.kernels import multislice_loss
from dptt.model.forward import Geometry
from dptt.model.shot_noise import Fit, FitLoss
from dptt.model.state import TomographyState
from dptt.solvers.tomography.minibatch_update import local_batch, read_usable
from dptt.solvers.tomography.minibatches import own_positions, split_held_out
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.settings import TomographySettings
from dptt.solvers.tomography.tilt_groups import TiltGroups
from dptt.solvers.tomography.tilt_patterns import TiltPatterns
from dptt.solvers.tomography.tilt_plan import TiltPlan, plan_tilt

SAMPLE = 64
"""Fitted patterns of a tilt that are looked at."""
LARGEST_SAMPLE, OF_ALL_TILTS = 512, 4096
"""Held-out patterns of a tilt, and of all tilts, that are looked at, at most; `SAMPLE` of each tilt in any case. More
would only take longer: what optics the patterns prefer takes this sample a dozen times."""


def measure_fit(state: TomographyState, tilts: Sequence[TiltPatterns], run: Run, *, held_out: bool) -> list[Fit]:
    """Return the fit of every tilt, the same on all ranks; the state is not changed.

    With `held_out` it is that of patterns that no update has used, otherwise of a sample of those that were fitted:
    they are fitted a little better than shot noise allows, because the volume has fitted some of their noise.
    """
    sums = torch.zeros((len(tilts), len(fields(Fit))), dtype=torch.float64)
    for index in run.groups.own:
        tilt = plan_tilt(state, tilts[index], index, run)
        with run.mesh.world.working(f"the fit of tilt {tilt.patterns.name}"):
            sample = _sample(tilt, held_out, len(tilts))
            sums[index] = run.mesh.group.sum_(_own_sums(state, tilt, run, sample))
    return [Fit(*row) for row in run.groups.shared(sums).tolist()]


@dataclass(frozen=True)
class FinalFits:
    """The fits of all tilts to the finished volume."""

    tilts: list[Fit]
    held_out: bool
    """Whether they are those of patterns that no update has used."""
    fitted: list[Fit]
    """Of a sample of the patterns that were fitted; the same as `tilts` without held-out patterns."""

    @property
    def together(self) -> Fit:
        """Of all tilts."""
        return together(self.tilts)

    @property
    def fitted_noise(self) -> float:
        """The part of the figure of fit that is noise which the volume has fitted; NaN without held-out patterns.

        A model with p free parameters for N counts lowers the loss of these counts by p/N of their shot noise and
        raises that of others by as much, whatever else it cannot describe. Half of the difference is thus the noise,
        without counting parameters, of which constraints and few epochs leave some unused.
        """
        if not self.held_out:
            return math.nan
        return max(0.0, (self.together.figure - together(self.fitted).figure) / 2)


def together(fits: Sequence[Fit]) -> Fit:
    """Return the fit of the patterns of all tilts."""
    return Fit(*(sum(getattr(fit, field.name) for fit in fits) for field in fields(Fit)))


def final_fits(
    state: TomographyState,
    tilts: Sequence[TiltPatterns],
    geometry: Geometry,
    settings: TomographySettings,
    mesh: Mesh,
) -> FinalFits:
    """Return the fits to a finished volume, of held-out patterns if every tilt has some."""
    run = Run(geometry, settings, mesh, TiltGroups(mesh.tilt, settings.tilt_groups, state, len(tilts)))
    held_out = all(len(split_held_out(len(positions), 0, settings)[1]) for positions in state.positions)
    fitted = measure_fit(state, tilts, run, held_out=False)
    return FinalFits(measure_fit(state, tilts, run, held_out=True) if held_out else fitted, held_out, fitted)


def _sample(tilt: TiltPlan, held_out: bool, tilts: int) -> Int[Tensor, " _"]:
    """Return the positions of one of so many `tilts` that are looked at, evenly spread over all that could be."""
    positions = tilt.held_out if held_out else torch.cat(tilt.batches)
    most = max(SAMPLE, min(LARGEST_SAMPLE, OF_ALL_TILTS // tilts)) if held_out else SAMPLE
    number = min(len(positions), most)
    return positions[(torch.arange(number) + 0.5).mul(len(positions) / max(number, 1)).long()]


def _own_sums(state: TomographyState, tilt: TiltPlan, run: Run, sample: Int[Tensor, " _"]) -> Tensor:
    """Return this rank's share of the fields of `Fit`."""
    own, measured = read_usable(tilt.patterns, own_positions(sample, run.mesh.group))
    batch, _ = local_batch(state, tilt, run, batch=sample, own=own, measured=measured)
    loss = FitLoss(tilt.misfit, batch.probe, batch.pattern_shifts)
    multislice_loss(replace(batch, loss=loss), run.settings.chunk_bytes)
    return loss.sums.cpu()
