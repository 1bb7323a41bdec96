"""Step sizes that need no tuning: every update is divided by a bound on the curvature of the loss.

For a phase object the exit wave changes by i sigma psi dV, so the second derivative of the loss with respect to the
projected potential of a pixel is at most c sigma² × illumination. Here and everywhere in this package:

    illumination    electrons on a pixel of the entrance plane, the sum over positions and modes of |probe|²
    curvature       c, the second derivative of the loss with respect to an amplitude sqrt(I), at the optimum

The same bound, with the derivative of the projected potential, applies to scan positions and poses. A step of 1 is
then the full Newton step of that model, for any dose and sampling.
"""

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

ILLUMINATION_FLOOR = 0.3
"""Pixels with less than this fraction of the maximum illumination take proportionally smaller steps."""


def precondition_slices(
    gradient: Inexact[Tensor, "slice y x"],
    illumination: Float[Tensor, "y x"],
    *,
    curvature: float,
    sigma: float,
    planes: int,
    voxel_thickness: float,
    maximum_illumination: float | None = None,
) -> Inexact[Tensor, "slice y x"]:
    """Return a slice gradient scaled so that its back-projection is the Newton step of every beam path.

    `illumination` is that at the entrance plane. The residual of a path is shared by its `planes` voxels of
    `voxel_thickness` [Å]: a unit change of all of them changes the projection by planes × thickness, hence the
    curvature c sigma² thickness² planes × electrons.
    `maximum_illumination` is that of the whole image [electrons]; needed where `illumination` has only some of its
    rows.
    """
    if maximum_illumination is None:
        maximum_illumination = illumination.max().item()
    electrons = illumination.clamp_min(ILLUMINATION_FLOOR * maximum_illumination)
    bound = curvature * sigma**2 * planes * voxel_thickness**2 * electrons
    return gradient / bound.clamp_min(torch.finfo(bound.dtype).tiny)


def position_hessian(
    intensity: Float[Tensor, "y x"], corners: Tensor, projection: Float[Tensor, "Y X"], factor: float
) -> Float[Tensor, "pos 2 2"]:
    """Return the curvature [1/pixel²] of the loss with respect to every scan position.

    `factor` sum_r |psi(r)|² dS/di dS/dj over the window at `corners`, where S is the projected potential [V Å] and
    `factor` = c sigma². The sums over windows are one correlation.
    """
    gradient_y, gradient_x = torch.gradient(projection)
    spectrum = torch.fft.rfft2(intensity, s=projection.shape).conj()
    corners = (corners % torch.tensor(projection.shape)).to(projection.device)
    hessian = projection.new_zeros((len(corners), 2, 2))
    for i, j, product in ((0, 0, gradient_y**2), (0, 1, gradient_y * gradient_x), (1, 1, gradient_x**2)):
        correlation = torch.fft.irfft2(torch.fft.rfft2(product) * spectrum, s=projection.shape)
        hessian[:, i, j] = hessian[:, j, i] = factor * correlation[corners[:, 0], corners[:, 1]]
    return hessian


def pose_hessian(
    moments: Inexact[Tensor, "3 2 y x"],
    jacobian: Float[Tensor, "3 4 parameter"],
    illumination: Float[Tensor, "y x"],
    factor: float,
    rows: range | None = None,
    height: int | None = None,
) -> Float[Tensor, "parameter parameter"]:
    """Return the curvature of the loss with respect to pose parameters, by the projected potential.

    `moments` are those of `kernels.pose_derivatives`; `jacobian` is d(sampling map)/d(parameters). If the images
    consist of the `rows` of a slab only, out of `height`, the result is their share of the sum.
    """
    ny, nx = illumination.shape
    y = (torch.tensor(rows or range(ny)).to(illumination) - (height or ny) // 2)[:, None]
    x = (torch.arange(nx).to(illumination) - nx // 2)[None, :]
    first, second = moments[:, 0], moments[:, 1]
    by_map = torch.stack([second, first * y, first * x, first], dim=1)  # d(projection)/d(map[i, j])
    images = torch.einsum("ijyx,ijp->pyx", by_map, jacobian.to(by_map))
    weighted = (images * illumination).conj()
    return factor * torch.einsum("pyx,qyx->pq", weighted, images).real.to(jacobian)
