"""Scan positions and poses refined inside the end-to-end loop: what [P] leaves as future work.

Both take Newton steps with the curvature bound of `steps`, once per tilt and epoch, from the gradients that the
minibatches of the tilt have summed on their way.
"""

import torch
from jaxtyping import Float, Inexact, Int
from torch import Tensor

from dptt.distributed.mesh import Mesh
from dptt.model.state import TomographyState
from dptt.physics.patches import split_positions
from dptt.physics.rotation import sampling_map
from dptt.solvers.newton import damped_newton_step
from dptt.solvers.tomography.settings import TomographySettings
from dptt.solvers.tomography.steps import pose_hessian, position_hessian
from dptt.solvers.tomography.tilted_volume import TiltedVolume

POSITION_UNCERTAINTY = 0.5
"""Standard deviation [pixels] expected of a scan position: it keeps positions in vacuum from following noise."""
LARGEST_POSITION_STEP = 0.5
"""Largest change of a scan position in an epoch [pixels]."""
LARGEST_ANGLE_STEP = 0.3
"""Largest change of an Euler angle in an epoch [degrees]: an immature volume pulls tilts into zone axes."""


def refine_positions_(
    state: TomographyState,
    tilt: int,
    owned: Int[Tensor, " pos"],
    gradient: Float[Tensor, "pos 2"],
    tilted: TiltedVolume,
    settings: TomographySettings,
    curvature: float,
    mesh: Mesh,
) -> None:
    """Move the scan positions `owned` by this rank by a damped Newton step, in place.

    `gradient` is dL/d(position) [1/pixel]. The mean over all ranks is removed: a common displacement belongs to the
    tilt's translation.
    """
    geometry = tilted.geometry
    projection = tilted.rows.whole(tilted.slices(state.volume, 1))[0]
    projection = (projection.real if projection.is_complex() else projection).double()
    corners, _ = split_positions(
        state.positions[tilt][owned], geometry.sampling, geometry.volume_shape[1:], geometry.window_shape
    )
    intensity = state.probes[tilt].abs().square().sum(0).double()
    hessian = position_hessian(intensity, corners, projection, curvature * geometry.sigma**2).cpu()
    # The Fisher information of an amplitude is 4, so L is -log likelihood times curvature/4, and so is the prior.
    hessian = hessian + torch.eye(2, dtype=torch.float64) * curvature / (4 * POSITION_UNCERTAINTY**2)
    step = settings.positions.step * damped_newton_step(gradient, hessian)
    step = step.clamp(-LARGEST_POSITION_STEP, LARGEST_POSITION_STEP)
    total = mesh.group.sum_(torch.cat([step.sum(0), torch.tensor([float(len(owned))], dtype=torch.float64)]))
    step = step - total[:2] / total[2].clamp_min(1)
    state.positions[tilt][owned] += step * torch.tensor(geometry.sampling, dtype=torch.float64)


def refine_pose_(
    state: TomographyState,
    tilt: int,
    volume: Inexact[Tensor, "z y x"],
    slice_gradient: Inexact[Tensor, "slice y x"],
    illumination: Float[Tensor, "y x"],
    tilted: TiltedVolume,
    settings: TomographySettings,
    curvature: float,
    mesh: Mesh,
) -> None:
    """Move the Euler angles and the translation of a tilt by a damped Newton step, in place.

    `volume` is that before the tilt's updates; `slice_gradient` and `illumination` are summed over its minibatches
    and over the scan positions of all ranks, so only the rows of the slabs remain to be summed.
    """
    geometry = tilted.geometry
    angles, translation = state.euler_angles[tilt], state.translations[tilt]
    map_gradient, moments = tilted.derivatives(volume, slice_gradient)
    by_angles, by_translation = torch.autograd.functional.jacobian(
        lambda a, t: sampling_map(a, t, geometry.voxel_size), (angles, translation)
    )
    jacobian = torch.cat([by_angles, by_translation], dim=2)
    active = torch.tensor([settings.angles.active(state.epoch)] * 3 + [settings.translations.active(state.epoch)] * 2)
    jacobian = jacobian[..., active]
    gradient = torch.einsum("ij,ijp->p", map_gradient.double().cpu(), jacobian)
    hessian = pose_hessian(
        moments.to(torch.promote_types(moments.dtype, torch.float64)),
        jacobian,
        illumination.double(),
        curvature * geometry.sigma**2,
        tilted.rows.own,
        tilted.rows.length,
    )
    total = mesh.slab.sum_(torch.cat([gradient.reshape(-1), hessian.reshape(-1)]))
    gradient, hessian = total[: len(gradient)], total[len(gradient) :].reshape(hessian.shape)
    step = torch.zeros(5, dtype=torch.float64)
    step[active] = damped_newton_step(gradient, hessian)
    turn = (settings.angles.step * step[:3]).clamp(-LARGEST_ANGLE_STEP, LARGEST_ANGLE_STEP)
    state.euler_angles[tilt] += turn
    state.translations[tilt] += settings.translations.step * step[3:]
