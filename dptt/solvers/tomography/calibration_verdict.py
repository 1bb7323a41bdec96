"""Whether what a calibration found is better than what it started with: a group that is not goes back.

Judged once, at the end of the calibration, with the same volume, as refined poses are (`verdict`): by the held-out
patterns of all tilts and those that calibrate. These are many more, and the volume has fitted neither; but they have
been fitted by the parameters. Every parameter has to lower the loss by what it costs to fit noise, so that the
expected gain of one that is not there is zero (Akaike). Within a group, what does not differ from zero by more than
its errors is zero already.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dptt.kernels.losses import LOSSES
from dptt.model.calibration import BACKGROUND, BLUR, DESCAN, FOCUS, SCAN, ZERO_ANGLE
from dptt.model.state import TomographyState
from dptt.solvers.stage_prior import Verdict, lowers, relative_gain, root_mean_square
from dptt.solvers.tomography.calibration import apply_, calibrate_
from dptt.solvers.tomography.held_out import losses_of_held_out
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.tilt_patterns import TiltPatterns
from dptt.solvers.tomography.verdict import DECISIVE_GAIN, LEAST_GAIN


@dataclass(frozen=True)
class _Group:
    name: str
    unit: str
    factor: float
    """From parameters to the unit."""
    parameters: tuple[int, ...]


def _numbers(*parts: slice) -> tuple[int, ...]:
    return tuple(number for part in parts for number in range(part.start, part.stop))


GROUPS = (
    _Group("scan geometry", "%", 100.0, _numbers(SCAN)),
    _Group("descan", "pixels/Å", 1.0, _numbers(DESCAN, ZERO_ANGLE)),
    _Group("focus", "Å", 1.0, _numbers(FOCUS)),
    _Group("background", "%", 100.0, _numbers(BACKGROUND)),
    _Group("blur of the detector", "pixels²", 1.0, _numbers(BLUR)),
)


def calibrate_and_judge_(state: TomographyState, tilts: Sequence[TiltPatterns], run: Run) -> list[Verdict]:
    """Calibrate at the end of an epoch, see `calibration.calibrate_`, and at the end of the last one judge."""
    calibrate_(state, tilts, run)
    return judge_calibration_(state, run, partial(losses_of_held_out, tilts=tilts, run=run, calibrating=True))


def judge_calibration_(
    state: TomographyState, run: Run, held_out_losses: Callable[[TomographyState], Float[Tensor, "tilt block"]]
) -> list[Verdict]:
    """Judge every group that differs from its start after the last calibration, and set back what does not help.

    Every rank calls it, and `held_out_losses` is the same on all of them; see `verdict.judge_`.
    """
    settings, change = run.settings.calibration, state.calibration - state.nominal.calibration
    groups = [group for group in GROUPS if change[:, group.parameters].any()]
    if not settings.active(state.epoch) or settings.active(state.epoch + 1) or not groups:
        return []
    after, verdicts = held_out_losses(state).numpy(), []
    cost = LOSSES[run.settings.loss].curvature / 4  # of a parameter: 1 in the negative log likelihood
    for group in groups:
        before = held_out_losses(_without(group, state, run)).numpy()
        blocks = np.isfinite(before).sum(1, keepdims=True).clip(1)
        before = before - cost * len(group.parameters) / blocks
        gain = relative_gain(before, after)
        untested = not np.isfinite(before).any()
        verdicts.append(
            Verdict(
                group=group.name,
                unit=group.unit,
                kept=untested or gain > DECISIVE_GAIN or lowers(before, after, least=LEAST_GAIN),
                deviation=group.factor * root_mean_square(change[:, group.parameters].numpy()),
                error=group.factor * root_mean_square(state.calibration_errors[:, group.parameters].numpy()),
                gain=gain,
            )
        )
    for group, verdict in zip(groups, verdicts, strict=True):
        if not verdict.kept:
            _set_back_(group, state, run)
    return verdicts


def _without(group: _Group, state: TomographyState, run: Run) -> TomographyState:
    """Return the state with one group as at the start; what is not changed is shared."""
    changed = replace(
        state, calibration=state.calibration.clone(), positions=list(state.positions), probes=list(state.probes)
    )
    _set_back_(group, changed, run)
    return changed


def _set_back_(group: _Group, state: TomographyState, run: Run) -> None:
    """Give a group its values at the start, and positions and probes those that belong to them."""
    chosen = torch.tensor(group.parameters)
    for index, row in enumerate(state.calibration.clone()):
        row[chosen] = state.nominal.calibration[index, chosen]
        apply_(state, index, row, run)
