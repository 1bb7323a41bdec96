"""Whether refined poses are better than nominal ones: those that are not go back to where they started.

The groups are phi, theta and psi of all tilts, and their translations. Each is judged once, after `EPOCHS_BEFORE`
epochs of its refinement, and the epochs that are left let the volume follow. It is kept if

- with it, the held-out patterns of the tilts fit better than with its nominal values and the same volume, by more
  than the sampling error of the paired differences (`stage_prior.lowers`), and
- its angles deviate from the nominal ones by more than their own errors (`stage_prior.exceeds_errors`),

or if the held-out loss falls by `DECISIVE_GAIN`. The first test alone does not do: the volume follows wrong angles,
and held-out patterns of the same tilt with it.

A group that went back equals its nominal values, which is how the following epochs, and a resumed run, know of it.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dptt.analysis.poses import TiltPoses, remove_common_motion
from dptt.model.state import TomographyState
from dptt.solvers.stage_prior import AXES, Verdict, exceeds_errors, lowers, root_mean_square
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.settings import Refinement, TomographySettings

EPOCHS_BEFORE = 4
"""Epochs of refinement before a group is judged."""
LEAST_GAIN = 1e-5
"""Smallest decrease of the held-out loss, as a fraction of it, that is worth a refinement."""
DECISIVE_GAIN = 0.02
"""Decrease of the held-out loss that proves angles alone: wrong ones that the volume has followed lower it by less
than a thousandth. While angles are wrong by a degree, their estimated errors are too large."""
GROUPS = (*AXES, "translations")


def refined_settings(state: TomographyState, settings: TomographySettings) -> TomographySettings:
    """Return the settings of the present epoch: without the groups that went back to their nominal values."""
    kept = [
        not _judged_before(_refinement(group, settings), state.epoch) or not torch.equal(*_values(group, state))
        for group in GROUPS
    ]
    translations = settings.translations if kept[3] else replace(settings.translations, start=None)
    phi, theta, psi = (width * keep for width, keep in zip(settings.angle_uncertainty, kept[:3], strict=True))
    return replace(settings, angle_uncertainty=(phi, theta, psi), translations=translations)


def judge_(
    state: TomographyState,
    run: Run,
    errors: Float[Tensor, "tilt 5"],
    held_out_losses: Callable[[TomographyState], Float[Tensor, "tilt block"]],
) -> list[Verdict]:
    """Judge the groups whose time has come after the present epoch, and set those back that are not kept, in place.

    Their `errors` become zero.

    Parameters
    ----------
    errors
        Standard deviations of the pose parameters of all tilts, of `refinement.refine_pose_`.
    held_out_losses
        Returns the losses of the held-out patterns of every tilt, NaN where a block has none, the same on all ranks.
        Every rank calls it.
    """
    groups = [group for group in GROUPS if _is_due(group, state, run.settings)]
    if not groups:
        return []
    refined = held_out_losses(state)
    deviations = _deviations(state)
    verdicts = []
    for group in groups:
        without = held_out_losses(_with_nominal(group, state))
        verdicts.append(_verdict(group, deviations, errors, without, refined))
    for verdict in verdicts:
        if not verdict.kept:
            nominal = _with_nominal(verdict.group, state)
            state.euler_angles, state.translations = nominal.euler_angles, nominal.translations
            errors[:, _columns(verdict.group)] = 0
    return verdicts


def _verdict(
    group: str, deviations: dict[str, np.ndarray], errors: Tensor, without: Tensor, refined: Tensor
) -> Verdict:
    own_errors = errors[:, _columns(group)].numpy().ravel()
    deviation = deviations[group].ravel()
    before, after = without.numpy(), refined.numpy()
    helps = not np.isfinite(before).any() or lowers(before, after, least=LEAST_GAIN)
    total = np.nansum(before)
    gain = float((total - np.nansum(after)) / total) if total > 0 else 0.0
    exceeds = group == "translations" or exceeds_errors(deviation, own_errors)
    return Verdict(
        group=group,
        kept=gain > DECISIVE_GAIN or (helps and exceeds),
        deviation=root_mean_square(deviation),
        error=root_mean_square(own_errors),
        gain=gain,
    )


def _deviations(state: TomographyState) -> dict[str, np.ndarray]:
    """Return by how much the values of every group differ from the nominal ones, without a common motion."""
    nominal = TiltPoses(state.nominal.euler_angles.numpy(), state.nominal.translations.numpy())
    found = remove_common_motion(TiltPoses(state.euler_angles.numpy(), state.translations.numpy()), nominal)
    angles = found.euler_angles - nominal.euler_angles
    return dict(zip(AXES, angles.T, strict=True)) | {"translations": found.translations - nominal.translations}


def _is_due(group: str, state: TomographyState, settings: TomographySettings) -> bool:
    """Return whether a group is judged now, after the epoch `state.epoch` (from 0)."""
    refinement = _refinement(group, settings)
    due = _judged_before(refinement, state.epoch + 1) and not _judged_before(refinement, state.epoch)
    return due and not torch.equal(*_values(group, state))


def _judged_before(refinement: Refinement, epoch: int) -> bool:
    return refinement.start is not None and epoch >= refinement.start + EPOCHS_BEFORE


def _refinement(group: str, settings: TomographySettings) -> Refinement:
    return settings.translations if group == "translations" else settings.angles


def _columns(group: str) -> slice:
    """Return where a group stands among (phi, theta, psi, tau y, tau x)."""
    return slice(3, 5) if group == "translations" else slice(AXES.index(group), AXES.index(group) + 1)


def _values(group: str, state: TomographyState) -> tuple[Tensor, Tensor]:
    """Return refined and nominal values of a group."""
    if group == "translations":
        return state.translations, state.nominal.translations
    axis = AXES.index(group)
    return state.euler_angles[:, axis], state.nominal.euler_angles[:, axis]


def _with_nominal(group: str, state: TomographyState) -> TomographyState:
    """Return the state with one group at its nominal values; the volume is shared."""
    if group == "translations":
        return replace(state, translations=state.nominal.translations.clone())
    angles, axis = state.euler_angles.clone(), AXES.index(group)
    angles[:, axis] = state.nominal.euler_angles[:, axis]
    return replace(state, euler_angles=angles)
