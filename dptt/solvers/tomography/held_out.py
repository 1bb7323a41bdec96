"""Losses of held-out patterns, which no update uses: of a tilt after its pass, of all tilts for a comparison.

The verdict on a calibration also takes the patterns that are set aside for it: held-out patterns alone are a dozen of
a tilt, and do not tell a tenth of a percent. Angles are not judged by so many: a strained scan looks like wrong
angles, and these then lower the loss of all patterns, while they are wrong.
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
    state: TomographyState, tilts: Sequence[TiltPatterns], run: Run, *, calibrating: bool = False
) -> Float[Tensor, "tilt block"]:
    """Return the losses of blocks of held-out patterns of every tilt, the same on all ranks; NaN without any.

    With `calibrating`, patterns that are set aside to calibrate are among them.
    """
    losses = torch.zeros((len(tilts), BLOCKS), dtype=torch.float64)
    for index in run.groups.own:
        tilt = plan_tilt(state, tilts[index], index, run)
        judging = _with_calibrating(state, tilt, run) if calibrating else tilt.held_out
        losses[index] = _of_blocks(state, tilt, judging, run)
    return run.groups.shared(losses)


def _of_blocks(
    state: TomographyState, tilt: TiltPlan, positions: Int[Tensor, " _"], run: Run
) -> Float[Tensor, " block"]:
    losses = torch.full((BLOCKS,), float("nan"), dtype=torch.float64)
    for number, block in enumerate(positions.tensor_split(BLOCKS)):
        if len(block):
            block = block.sort().values
            own, measured = read_usable(tilt.patterns, own_positions(block, run.mesh.group))
            losses[number] = own_loss(state, tilt, run, block, own, measured)
    return run.mesh.group.sum_(losses)


def _with_calibrating(state: TomographyState, tilt: TiltPlan, run: Run) -> Int[Tensor, " _"]:
    """Return the held-out positions of a tilt, and those set aside to calibrate, mixed."""
    aside = calibrating_positions(len(state.positions[tilt.index]), tilt.index, run.settings)
    both = torch.cat([tilt.held_out, aside])
    return both[torch.randperm(len(both), generator=random_generator(run.settings.seed, -3, tilt.index))]
