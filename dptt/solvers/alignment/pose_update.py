"""The outer step of [P] Algorithm 2: damped Gauss-Newton steps of every tilt's pose, with exact derivatives.

When the pose changes by the rotation w and the shift d, a mass V at r'' moves by w × r'' + d, and the image changes
by minus the divergence of the projection of V (w × r'' + d). With the projection m = P V and its first moment along
the beam, m1 = P (V z''), this gives for the five parameters

    dm/dw_x = d/dy m1,    dm/dw_y = - d/dx m1,    dm/dw_z = y dm/dx - x dm/dy,    dm/dd = - grad m.

Gain and offset of every image are fitted together with the pose and then discarded, so that neither is mistaken for a
shift.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.ndimage
from jaxtyping import Bool, Complex, Float, Int

from dptt.solvers.alignment.projector import TiltProjector
from dptt.solvers.newton import damped_newton_step, damped_solve

DAMPING = 1e-3
"""Fraction of the diagonal that is added to the normal equations."""


@dataclass(frozen=True)
class PoseEquations:
    """Normal equations of one tilt in (w_x, w_y, w_z, d_y, d_x, gain, offset), radians and voxels."""

    hessian: Float[np.ndarray, "7 7"]
    gradient: Float[np.ndarray, "7"]
    misfit: float
    """sum |residual|² / sum |image|², with the best gain and offset."""
    gain: float
    noise: float
    """Spectral density of the residual where it is large: its variance times the area over which it is correlated."""


def pose_equations(
    projector: TiltProjector,
    spectrum: Complex[np.ndarray, "z x k"],
    image: Float[np.ndarray, "y x"],
    weights: Float[np.ndarray, "y x"],
) -> PoseEquations:
    """Return the equations of one tilt, from its aligned image and the volume's coefficients."""
    model, derivatives = _model_and_derivatives(projector, spectrum)
    columns = np.stack([*derivatives, model, np.ones_like(model)]) * weights
    flat = columns.reshape(7, -1).astype(np.float64)
    residual = ((model - image) * weights).ravel().astype(np.float64)
    hessian, gradient = flat @ flat.T, flat @ residual
    gain_and_offset = damped_solve(hessian[5:, 5:], gradient[5:], DAMPING)
    remaining = float(residual @ residual - gradient[5:] @ gain_and_offset)
    total = float(np.square((image * weights).astype(np.float64)).sum())
    misfit = max(remaining, 0.0) / max(total, 1e-30)
    left = residual - flat[5:].T @ gain_and_offset
    return PoseEquations(
        hessian, gradient, misfit, gain=1.0 - float(gain_and_offset[0]), noise=_density(left.reshape(model.shape))
    )


def _density(residual: Float[np.ndarray, "y x"]) -> float:
    """Return the mean power of a residual, weighted with itself; that of white noise is its variance."""
    power = np.square(np.abs(scipy.fft.fft2(residual))) / residual.size
    # half, because a power of random phase scatters about its mean by as much as that: <P²> = 2 <P>²
    return float(np.square(power).sum() / max(2 * power.sum(), 1e-30))


def _model_and_derivatives(
    projector: TiltProjector, spectrum: Complex[np.ndarray, "z x k"]
) -> tuple[Float[np.ndarray, "y x"], list[np.ndarray]]:
    """Return the projection and its derivatives by (w_x, w_y, w_z, d_y, d_x), in the frame (u, s)."""
    phi, theta = projector.angles
    _, height, width = projector.shape
    u = (np.arange(height) - height // 2)[:, None]
    x = (np.arange(width) - width // 2)[None, :] + u * np.sin(theta) * np.sin(phi)
    y = u * np.cos(phi)
    model = projector.project(spectrum)
    moment = projector.project(spectrum * projector.height().astype(model.dtype))
    moment = moment + np.cos(theta) * np.sin(phi) * u * model
    model_y, model_x = _slope(model, phi, theta)
    moment_y, moment_x = _slope(moment, phi, theta)
    return model, [moment_y, -moment_x, y * model_x - x * model_y, -model_y, -model_x]


def _slope(image: np.ndarray, phi: float, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """Return d/dy'' and d/dx'' of an image in the frame (u, s), by differences of fourth order."""
    kernel = np.array([1, -8, 0, 8, -1]) / 12
    along_u, along_s = (scipy.ndimage.correlate1d(image, kernel, axis, mode="nearest") for axis in (0, 1))
    return (along_u - np.sin(theta) * np.sin(phi) * along_s) / np.cos(phi), along_s


def newton_steps(
    equations: list[PoseEquations], *, active: Bool[np.ndarray, "5"], common_rotation: bool = False
) -> Float[np.ndarray, "tilt 5"]:
    """Return the steps of all tilts [radians, voxels], zero for parameters that are not `active`.

    With `common_rotation` all tilts rotate by the same w_z: the direction of the tilt axis in the image changes.
    """
    steps = np.zeros((len(equations), 5))
    free = np.flatnonzero(np.concatenate([active, [True, True]]))
    pose = free[free < 5]
    rotation = _common_rotation(equations, free) if common_rotation else 0.0
    for number, one in enumerate(equations):
        gradient = one.gradient[free] + one.hessian[free, 2] * rotation
        steps[number, pose] = damped_newton_step(gradient, one.hessian[np.ix_(free, free)], DAMPING)[: len(pose)]
        steps[number, 2] += rotation
    return steps


def pose_information(
    equation: PoseEquations, noise: float, euler_angles: Float[np.ndarray, "3"]
) -> tuple[Float[np.ndarray, "5 5"], Float[np.ndarray, "5 5"]]:
    """Return the information about (phi, theta, psi, d_y, d_x) in one image, and d(w, d)/d(these parameters).

    In radians and voxels. `noise` is the density of the residual against a volume without this tilt, which holds the
    errors of that volume as well; gain and offset are eliminated. A change of phi turns about the axis x rotated by
    theta, hence w = dphi (cos theta, 0, -sin theta) + dtheta y + dpsi z.
    """
    theta = np.deg2rad(euler_angles[1])
    turns = np.eye(5)
    turns[:3, 0] = np.cos(theta), 0.0, -np.sin(theta)
    pose, nuisance = equation.hessian[:5, :5], equation.hessian[5:, 5:]
    mixed = equation.hessian[5:, :5]
    eliminated = np.column_stack([damped_solve(nuisance, column, DAMPING) for column in mixed.T])
    information = (pose - mixed.T @ eliminated) / max(noise, 1e-30)
    return turns.T @ information @ turns, turns


def _common_rotation(equations: list[PoseEquations], free: Int[np.ndarray, " free"]) -> float:
    """Return the common w_z [radians] of least total misfit when every tilt adjusts its own `free` parameters."""
    slope = curvature = 0.0
    for one in equations:
        inner, outer = one.hessian[np.ix_(free, free)], one.hessian[free, 2]
        slope += one.gradient[2] - outer @ damped_solve(inner, one.gradient[free], DAMPING)
        curvature += one.hessian[2, 2] - outer @ damped_solve(inner, outer, DAMPING)
    return -slope / curvature if curvature > 0 else 0.0
