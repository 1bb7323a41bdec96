"""Step sizes that need no tuning: every update is divided by a bound on the curvature of the loss.

A change dS_k of the projected potential of slice k changes the wave behind it by i sigma psi_k dS_k, which reaches
the detector without loss. The exit wave changes by the sum over N slices, and |sum a_k|² <= N sum |a_k|², so the
second derivative of the loss is at most c sigma² N × illumination, pixel by pixel and slice by slice. Here and
everywhere in this package:

    illumination    electrons on a pixel of a slice, the sum over positions and modes of |probe|² at its depth
    curvature       c, the second derivative of the loss with respect to an amplitude sqrt(I), at the optimum

The same bound, with the derivative of the projected potential, applies to scan positions and poses. A step of 1 is
then the full Newton step of that model, for any dose and sampling.
"""

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor

ILLUMINATION_FLOOR = 0.3
"""Pixels with less than this fraction of the maximum illumination, in the slice where that is smallest, take
proportionally smaller steps: what is bright is judged where the probe is widest, not by the peaks of a focus."""
FRACTION_OF_BOUND = 0.9
"""By which gradients are divided. Largest eigenvalues of curvature / bound were 0.9 to 1.08, hence up to 1.2 at a
step of 1: more than 1 because positions between pixels and slices behind a specimen are approximations. Without
momentum, descent is stable up to 2. A specimen that turns the wave to speckle, by 5 rad, has 1.9: there `guard`
acts."""
PROBE_SHARE = 0.5
"""Of its Newton step that the probe takes. Volume and probe move at once and both correct the same exit wave, so the
largest eigenvalue is up to the sum of theirs: 1.25 + 0.5, where two full steps would exceed 2."""
MOST_STEPS = 2.0
"""Newton steps that momentum may make of one: more would overshoot by more than they correct."""


def precondition_slices(
    gradient: Inexact[Tensor, "slice y x"],
    illumination: Float[Tensor, "slice y x"],
    *,
    maximum_illumination: Float[Tensor, " slice"],
    curvature: float,
    sigma: float,
    planes: int,
    voxel_thickness: float,
) -> Inexact[Tensor, "slice y x"]:
    """Return a slice gradient scaled so that its back-projection is the Newton step of every beam path.

    The residual of a path is shared by its `planes` voxels of `voxel_thickness` [Å]: a unit change of all of them
    changes the projection by planes × thickness, hence the curvature c sigma² thickness² planes × electrons. It is
    the same in any pose, since the interpolation is band-limited. `illumination` may have some rows of the image
    only; `maximum_illumination` is that of the whole image of every slice [electrons].
    """
    bound = illumination.clamp_min(ILLUMINATION_FLOOR * maximum_illumination.min().item())
    bound = bound.mul_(FRACTION_OF_BOUND * curvature * sigma**2 * planes * voxel_thickness**2)
    return gradient / bound.clamp_min_(torch.finfo(bound.dtype).tiny)


def momentum_share(momentum: float) -> float:
    """Return the fraction of the full step of the volume that is stable with `momentum`.

    What one minibatch lights is carried on while the others are computed, by 1/(1 - momentum) steps in all. The
    stability of 2 (1 + momentum), known for one quadratic function, does not hold for minibatches that differ.
    """
    return min(1.0, MOST_STEPS * (1 - momentum))


def probe_step(probe_gradient: Complex[Tensor, "mode y x"], curvature: float, positions: int) -> Tensor:
    """Return the Newton step of the probe from its gradient, summed over `positions`, by its share."""
    return probe_gradient * (PROBE_SHARE / (curvature * positions))


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
