"""Whether refined parameters are better than nominal ones: those that are not go back to where they started.

Every group of `parameter_groups` (phi, theta and psi of all tilts, their translations) is judged once, after
`EPOCHS_BEFORE` epochs of its refinement, and the epochs that are left let the volume follow. It is kept if

- with it, the held-out patterns of the tilts fit better than with its nominal values and the same volume, by more
  than the sampling error of the paired differences (`stage_prior.lowers`), and
- its values deviate from the nominal ones by more than their own errors (`stage_prior.exceeds_errors`),

or if the held-out loss falls by `DECISIVE_GAIN`. The first test alone does not do: the volume follows wrong angles,
and held-out patterns of the same tilt with it.

A group that went back equals its nominal values, which is how the following epochs, and a resumed run, know of it.
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float
from torch import Tensor

from dptt.model.state import TomographyState
from dptt.solvers.stage_prior import Verdict, exceeds_errors, lowers, relative_gain, root_mean_square
from dptt.solvers.tomography.parameter_groups import GROUPS, ParameterGroup, at_nominal, with_nominal
from dptt.solvers.tomography.settings import TomographySettings

EPOCHS_BEFORE = 4
"""Epochs of refinement before a group is judged."""
LEAST_GAIN = 1e-5
"""Smallest decrease of the held-out loss, as a fraction of it, that is worth a refinement."""
DECISIVE_GAIN = 0.1
"""Decrease of the held-out loss that proves angles alone: wrong ones that the volume has followed lower it by less
than a thousandth. While angles are wrong by a degree, their estimated errors are too large."""


def refined_settings(state: TomographyState, settings: TomographySettings) -> TomographySettings:
    """Return the settings of the present epoch: without the groups that went back to their nominal values."""
    back = [group for group in GROUPS if _judged_before(group, settings, state.epoch) and at_nominal(group, state)]
    for group in back:
        settings = group.fixed(settings)
    return settings


def judge_(
    state: TomographyState,
    settings: TomographySettings,
    errors: Mapping[str, Float[Tensor, "..."]],
    held_out_losses: Callable[[TomographyState], Float[Tensor, "tilt block"]],
) -> list[Verdict]:
    """Judge the groups whose time has come after the present epoch, and set those back that are not kept, in place.

    Their `errors` become zero.

    Parameters
    ----------
    errors
        Name of a group -> standard deviations of its values.
    held_out_losses
        Returns the losses of the held-out patterns of every tilt, NaN where a block has none, the same on all ranks.
        Every rank calls it.
    """
    groups = [group for group in GROUPS if _is_due(group, state, settings)]
    if not groups:
        return []
    refined = held_out_losses(state)
    verdicts = [
        _verdict(group, state, errors[group.name], held_out_losses(with_nominal(group, state)), refined)
        for group in groups
    ]
    for group, verdict in zip(groups, verdicts, strict=True):
        if not verdict.kept:
            group.set_nominal_(state)
            errors[group.name].zero_()
    return verdicts


def _verdict(
    group: ParameterGroup, state: TomographyState, errors: Tensor, without: Tensor, refined: Tensor
) -> Verdict:
    deviations, own_errors = group.deviations(state).ravel(), errors.numpy().ravel()
    before, after = without.numpy(), refined.numpy()
    helps = not np.isfinite(before).any() or lowers(before, after, least=LEAST_GAIN)
    gain = relative_gain(before, after)
    exceeds = not group.against_errors or exceeds_errors(deviations, own_errors)
    return Verdict(
        group=group.name,
        unit=group.unit,
        kept=gain > DECISIVE_GAIN or (helps and exceeds),
        deviation=root_mean_square(deviations),
        error=root_mean_square(own_errors),
        gain=gain,
    )


def _is_due(group: ParameterGroup, state: TomographyState, settings: TomographySettings) -> bool:
    """Return whether a group is judged now, after the epoch `state.epoch` (from 0)."""
    due = _judged_before(group, settings, state.epoch + 1) and not _judged_before(group, settings, state.epoch)
    return due and not at_nominal(group, state)


def _judged_before(group: ParameterGroup, settings: TomographySettings, epoch: int) -> bool:
    start = group.refinement(settings).start
    return start is not None and epoch >= start + EPOCHS_BEFORE
