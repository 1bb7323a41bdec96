"""Groups of refined parameters that are judged together, see `verdict`: what a group is, and those of the poses.

A further refinement adds its group to `GROUPS`, and its errors to those that `tomography` hands to `verdict.judge_`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dptt.analysis.poses import TiltPoses, remove_common_motion
from dptt.model.state import TomographyState
from dptt.solvers.stage_prior import AXES
from dptt.solvers.tomography.settings import Refinement, TomographySettings


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Parameters of all tilts that are kept or go back to their nominal values together."""

    name: str
    unit: str
    refinement: Callable[[TomographySettings], Refinement]
    """When they are refined."""
    fixed: Callable[[TomographySettings], TomographySettings]
    """Returns settings that refine them no more."""
    values: Callable[[TomographyState], tuple[Tensor, Tensor]]
    """Returns refined and nominal values."""
    set_nominal_: Callable[[TomographyState], None]
    """Gives the state nominal values in new tensors: a shallow copy of the state keeps the refined ones."""
    deviations: Callable[[TomographyState], Float[np.ndarray, "..."]]
    """Returns refined minus nominal values, without what no data determine, in the order of their errors."""
    against_errors: bool = True
    """Whether the deviations must also exceed their own errors: where the volume follows wrong values."""


def error_table(pose_errors: Float[Tensor, "tilt 5"]) -> dict[str, Float[Tensor, "tilt _"]]:
    """Return the standard deviations of every group, as views of a table of (phi, theta, psi, tau y, tau x)."""
    return {name: pose_errors[:, i : i + 1] for i, name in enumerate(AXES)} | {"translations": pose_errors[:, 3:]}


def _pose_deviations(state: TomographyState) -> tuple[Float[np.ndarray, "tilt 3"], Float[np.ndarray, "tilt 2"]]:
    nominal = TiltPoses(state.nominal.euler_angles.numpy(), state.nominal.translations.numpy())
    found = remove_common_motion(TiltPoses(state.euler_angles.numpy(), state.translations.numpy()), nominal)
    return found.euler_angles - nominal.euler_angles, found.translations - nominal.translations


def _angle(axis: int) -> ParameterGroup:
    def fixed(settings: TomographySettings) -> TomographySettings:
        phi, theta, psi = (width * (i != axis) for i, width in enumerate(settings.angle_uncertainty))
        return replace(settings, angle_uncertainty=(phi, theta, psi))

    def set_nominal_(state: TomographyState) -> None:
        state.euler_angles = state.euler_angles.clone()
        state.euler_angles[:, axis] = state.nominal.euler_angles[:, axis]

    return ParameterGroup(
        name=AXES[axis],
        unit="°",
        refinement=lambda settings: settings.angles,
        fixed=fixed,
        values=lambda state: (state.euler_angles[:, axis], state.nominal.euler_angles[:, axis]),
        set_nominal_=set_nominal_,
        deviations=lambda state: _pose_deviations(state)[0][:, axis],
    )


def _set_nominal_translations_(state: TomographyState) -> None:
    state.translations = state.nominal.translations.clone()


TRANSLATIONS = ParameterGroup(
    name="translations",
    unit="Å",
    refinement=lambda settings: settings.translations,
    fixed=lambda settings: replace(settings, translations=replace(settings.translations, start=None)),
    values=lambda state: (state.translations, state.nominal.translations),
    set_nominal_=_set_nominal_translations_,
    deviations=lambda state: _pose_deviations(state)[1],
    against_errors=False,
)
GROUPS = (*map(_angle, range(len(AXES))), TRANSLATIONS)


def at_nominal(group: ParameterGroup, state: TomographyState) -> bool:
    """Return whether all values of a group are the nominal ones."""
    return torch.equal(*group.values(state))


def with_nominal(group: ParameterGroup, state: TomographyState) -> TomographyState:
    """Return the state with one group at its nominal values; all else is shared."""
    changed = replace(state)
    group.set_nominal_(changed)
    return changed
