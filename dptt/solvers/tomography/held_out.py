"""Losses of held-out patterns, which no update uses: of a tilt after its pass, of all tilts for a comparison.

A comparison also takes the patterns that calibrate, while these are set aside: held-out patterns alone are a dozen of
a tilt, and do not tell a tenth of a percent.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from dptt.kernels import multislice_loss
from dptt.model.state import TomographyState
from dptt.solvers.tomography.minibatch_update import local_batch, read_usable
from dptt.solvers.tomography.minibatches import calibrating_positions, own_positions, random_generator
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.tilt_patterns import TiltPatterns
from dptt.solvers.tomography.tilt_plan import TiltPlan, plan_tilt

BLOCKS = 8
"""Into which the held-out patterns of a tilt are divided: their scatter is the sampling error of a comparison."""


def own_loss(
    state: TomographyState,
    tilt: TiltPlan,
    run: Run,
    positions: Int[Tensor, " _"],
    own: Int[Tensor, " pos"],
    measured: Shaped[Tensor, "pos y x"],
) -> Float[Tensor, ""]:
    """Return the loss of this rank's usable patterns of `positions`; see `minibatch_update.local_batch`."""
    batch, _ = local_batch(state, tilt, run, batch=positions, own=own, measured=measured)
    return multislice_loss(batch, run.settings.chunk_bytes).double().cpu()


def losses_of_held_out(
    state: TomographyState, tilts: Sequence[TiltPatterns], run: Run
) -> Float[Tensor, "tilt block"]:
    """Return the losses of blocks of patterns that no update has used, of every tilt; NaN without any.

    The same on all ranks.
    """
    losses = torch.zeros((len(tilts), BLOCKS), dtype=torch.float64)
    for index in run.groups.own:
        losses[index] = _of_blocks(state, plan_tilt(state, tilts[index], index, run), run)
    return run.groups.shared(losses)


def _of_blocks(state: TomographyState, tilt: TiltPlan, run: Run) -> Float[Tensor, " block"]:
    losses = torch.full((BLOCKS,), float("nan"), dtype=torch.float64)
    for number, block in enumerate(_unused(state, tilt, run).tensor_split(BLOCKS)):
        if len(block):
            block = block.sort().values
            own, measured = read_usable(tilt.patterns, own_positions(block, run.mesh.group))
            losses[number] = own_loss(state, tilt, run, block, own, measured)
    return run.mesh.group.sum_(losses)


def _unused(state: TomographyState, tilt: TiltPlan, run: Run) -> Int[Tensor, " _"]:
    """Return the held-out positions of a tilt, and those set aside to calibrate, mixed."""
    if not run.settings.calibration.sets_aside(state.epoch):
        return tilt.held_out
    aside = calibrating_positions(len(state.positions[tilt.index]), tilt.index, run.settings)
    both = torch.cat([tilt.held_out, aside])
    return both[torch.randperm(len(both), generator=random_generator(run.settings.seed, -3, tilt.index))]
