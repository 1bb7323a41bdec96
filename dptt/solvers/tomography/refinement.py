"""Scan positions and poses refined inside the end-to-end loop: what [P] leaves as future work.

Both take Newton steps with the curvature bound of `steps`, once per tilt and epoch, from the gradients that the
minibatches of the tilt have summed. Angles are weighed against the stage's, see `solvers.stage_prior`, and what does
not help goes back to where it started, see `verdict`.
"""

import torch
from jaxtyping import Bool, Float, Inexact, Int
from torch import Tensor

from dptt.model.state import TomographyState
from dptt.physics.patches import split_positions
from dptt.physics.rotation import sampling_map
from dptt.solvers.newton import damped_newton_step
from dptt.solvers.stage_prior import information_per_loss, posterior_errors, posterior_step
from dptt.solvers.tomography.borders import over_the_scan, within_volume
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.steps import pose_hessian, position_hessian
from dptt.solvers.tomography.tilt_plan import TiltPlan

POSITION_UNCERTAINTY = 0.5
"""Standard deviation [voxels] expected of a scan position: it keeps positions in vacuum from following noise."""
LARGEST_POSITION_STEP = 0.5
"""Largest change of a scan position in an epoch [voxels]."""
LARGEST_ANGLE_STEP = 0.3
"""Largest change of an Euler angle in an epoch [degrees]: an unfinished volume pulls tilts into zone axes."""
JOINT_ERRORS = (6.0, 10.0, 6.0, 12.0, 12.0)
"""How many times larger the errors of Euler angles and translations are if the specimen is found together with them:
the volume follows its tilts. From the errors that exact stage angles end with in four series that abTEM computed (see
`scripts/angle_study`), between 2 and 13 times for an angle: the more crystalline, the more."""
WELL_ILLUMINATED = 0.3
"""Fraction of the maximum illumination from which a pixel counts in the excess of the residuals."""


def refine_positions_(
    state: TomographyState,
    tilt: TiltPlan,
    run: Run,
    *,
    owned: Int[Tensor, " pos"],
    gradient: Float[Tensor, "pos 2"],
) -> int:
    """Move the scan positions `owned` by this rank by a damped Newton step, in place.

    Return how many of them are kept at the border of the volume.

    `gradient` is dL/d(position) [1/voxel]. The mean over all ranks is removed: a common displacement belongs to the
    tilt's translation.
    """
    geometry, tilted, curvature = run.geometry.on_voxels, tilt.tilted, tilt.curvature
    projection = tilted.rows.whole(tilted.slices(state.volume, 1))[0]
    projection = (projection.real if projection.is_complex() else projection).double()
    corners, _ = split_positions(
        state.positions[tilt.index][owned], geometry.sampling, geometry.image_shape, geometry.window_shape
    )
    intensity = run.geometry.probe_on_voxels(state.probes[tilt.index]).abs().square().sum(0).double()
    hessian = position_hessian(intensity, corners, projection, curvature * geometry.sigma**2).cpu()
    # The Fisher information of an amplitude is 4, so L is -log likelihood times curvature/4, and so is the prior.
    hessian = hessian + torch.eye(2, dtype=torch.float64) * curvature / (4 * POSITION_UNCERTAINTY**2)
    step = run.settings.positions.step * damped_newton_step(gradient, hessian)
    step = step.clamp(-LARGEST_POSITION_STEP, LARGEST_POSITION_STEP)
    total = run.mesh.group.sum_(torch.cat([step.sum(0), torch.tensor([float(len(owned))], dtype=torch.float64)]))
    step = step - total[:2] / total[2].clamp_min(1)
    before = state.positions[tilt.index][owned]
    wanted = before + step * torch.tensor(geometry.sampling, dtype=torch.float64)
    state.positions[tilt.index][owned], at_border = within_volume(wanted, run.geometry, before)
    return int(at_border.sum())


def refine_pose_(
    state: TomographyState,
    tilt: TiltPlan,
    run: Run,
    *,
    volume: Inexact[Tensor, "z y x"],
    slice_gradient: Inexact[Tensor, "slice y x"],
    illumination: Float[Tensor, "y x"],
) -> tuple[Float[Tensor, "5"], bool]:
    """Move the Euler angles and the translation of a tilt by a step of `stage_prior`, in place.

    Return the errors of all five, and whether the translation is kept at its limit.

    `volume` is that before the tilt's updates; `slice_gradient` and `illumination` (at the entrance plane) are summed
    over its minibatches and over the scan positions of all ranks, so only the rows of the slabs remain to be summed.
    The errors are standard deviations of (phi, theta, psi) [degrees] and tau (y, x) [Å], zero for what is fixed.
    """
    settings, index = run.settings, tilt.index
    widths = torch.tensor([*settings.angle_uncertainty, float("inf"), float("inf")], dtype=torch.float64)
    active = torch.tensor([settings.angles.active(state.epoch)] * 3 + [settings.translations.active(state.epoch)] * 2)
    active &= widths > 0
    step, errors = torch.zeros(5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    if not active.any():
        return errors, False
    gradient, hessian = _pose_derivatives(state, tilt, run, active, volume, slice_gradient, illumination)
    inflation = torch.tensor(JOINT_ERRORS, dtype=torch.float64)[active]
    information = information_per_loss(tilt.curvature) * hessian / inflation / inflation[:, None]
    information /= _excess(slice_gradient, illumination, tilt, run)
    precision = widths[active] ** -2
    deviation = torch.cat([state.euler_angles[index] - state.nominal.euler_angles[index], torch.zeros(2).double()])
    # The volume has followed the angles, so that the step of the data is only a fraction of that to the optimum of
    # both. The pull of the prior is the same fraction, otherwise they would balance too close to the nominal angles.
    deviation = deviation[active] / inflation**2
    step[active] = posterior_step(damped_newton_step(gradient, hessian), information, deviation, precision)
    errors[active] = posterior_errors(information, precision)
    rotation = (settings.angles.step * step[:3]).clamp(-LARGEST_ANGLE_STEP, LARGEST_ANGLE_STEP)
    state.euler_angles[index] += rotation
    wanted = state.translations[index] + settings.translations.step * step[3:]
    state.translations[index], at_limit = over_the_scan(wanted, run.geometry)
    return errors, at_limit


def _pose_derivatives(
    state: TomographyState,
    tilt: TiltPlan,
    run: Run,
    active: Bool[Tensor, "5"],
    volume: Inexact[Tensor, "z y x"],
    slice_gradient: Inexact[Tensor, "slice y x"],
    illumination: Float[Tensor, "y x"],
) -> tuple[Float[Tensor, " p"], Float[Tensor, "p p"]]:
    """Return gradient and curvature of the loss with respect to the `active` parameters of the pose."""
    geometry, tilted = run.geometry, tilt.tilted
    angles, translation = state.euler_angles[tilt.index], state.translations[tilt.index]
    map_gradient, moments = tilted.derivatives(volume, slice_gradient)
    by_angles, by_translation = torch.autograd.functional.jacobian(
        lambda a, t: sampling_map(a, t, geometry.voxel_size), (angles, translation)
    )
    jacobian = torch.cat([by_angles, by_translation], dim=2)[..., active]
    gradient = torch.einsum("ij,ijp->p", map_gradient.double().cpu(), jacobian)
    hessian = pose_hessian(
        moments.to(torch.promote_types(moments.dtype, torch.float64)),
        jacobian,
        illumination.double(),
        factor=tilt.curvature * geometry.sigma**2,
        rows=tilted.rows.own,
        height=tilted.rows.length,
    )
    total = run.mesh.slab.sum_(torch.cat([gradient.reshape(-1), hessian.reshape(-1)]))
    return total[: len(gradient)], total[len(gradient) :].reshape(hessian.shape)


def _excess(
    slice_gradient: Inexact[Tensor, "slice y x"], illumination: Float[Tensor, "y x"], tilt: TiltPlan, run: Run
) -> float:
    """Return the mean square of the slice gradient relative to that of shot noise alone.

    An amplitude has the variance 1/4 and the derivative 2 sigma |psi| at most, so shot noise gives a slice gradient
    of variance c² sigma² illumination / 4.
    """
    slab = run.mesh.slab
    bright = (illumination > WELL_ILLUMINATED * slab.maximum(illumination.max().item())).double()
    expected = (tilt.curvature * run.geometry.sigma) ** 2 * illumination.double() / 4
    squares = slice_gradient.real.double().square().mean(0) * bright / expected.clamp_min(1e-300)
    total = slab.sum_(torch.stack([squares.sum(), bright.sum()]).cpu())
    return (total[0] / total[1].clamp_min(1)).item()
