"""The outer step of [P] Algorithm 2: damped Gauss-Newton steps of every tilt's pose, with exact derivatives.

A mass V at r'' moves by w × r'' + d when the pose changes by the rotation w and the shift d, and the image by minus
the divergence of the shadow of V (w × r'' + d). With the projection m = P V and its first moment along the beam
m1 = P (V z'') that is, for all five parameters,

    dm/dw_x = d/dy m1,    dm/dw_y = - d/dx m1,    dm/dw_z = y dm/dx - x dm/dy,    dm/dd = - grad m.

Gain and offset of every image are solved for beside the pose and dropped: neither may pass for a shift.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from jaxtyping import Complex, Float

from dptt.solvers.alignment.projector import TiltProjector

DAMPING = 1e-3
"""Of the diagonal of the normal equations."""


@dataclass(frozen=True)
class PoseEquations:
    """Normal equations of one tilt in (w_x, w_y, w_z, d_y, d_x, gain, offset), radians and voxels."""

    hessian: Float[np.ndarray, "7 7"]
    gradient: Float[np.ndarray, "7"]
    misfit: float
    """sum |residual|² / sum |image|², with the gain and the offset that fit best."""
    gain: float


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
    nuisance = _solve(hessian[5:, 5:], gradient[5:])
    left = float(residual @ residual - gradient[5:] @ nuisance)
    total = float(np.square((image * weights).astype(np.float64)).sum())
    return PoseEquations(hessian, gradient, max(left, 0.0) / max(total, 1e-30), 1.0 - float(nuisance[0]))


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
    equations: list[PoseEquations], active: np.ndarray, common_rotation: bool = False
) -> Float[np.ndarray, "tilt 5"]:
    """Return the steps of the tilts, zero for parameters that are not `active` (5,) [radians, voxels].

    With `common_rotation` all tilts turn by one w_z: the tilt axis is turned in the image.
    """
    steps = np.zeros((len(equations), 5))
    free = np.flatnonzero(np.concatenate([active, [True, True]]))
    pose = free[free < 5]
    turn = 0.0
    if common_rotation:
        turn = common_turn(equations, free)
    for number, one in enumerate(equations):
        gradient = one.gradient[free] + one.hessian[free, 2] * turn
        steps[number, pose] = -_solve(one.hessian[np.ix_(free, free)], gradient)[: len(pose)]
        steps[number, 2] += turn
    return steps


def common_turn(equations: list[PoseEquations], free: np.ndarray) -> float:
    """Return the w_z [radians] that suits all tilts best when each chooses its own `free` parameters."""
    slope = curvature = 0.0
    for one in equations:
        inner, outer = one.hessian[np.ix_(free, free)], one.hessian[free, 2]
        slope += one.gradient[2] - outer @ _solve(inner, one.gradient[free])
        curvature += one.hessian[2, 2] - outer @ _solve(inner, outer)
    return -slope / curvature if curvature > 0 else 0.0


def _solve(hessian: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Return (H + damping diag H)⁻¹ g; directions without curvature give zero."""
    diagonal = np.diagonal(hessian)
    scale = np.where(diagonal > 1e-12 * diagonal.max(), 1 / np.sqrt(np.maximum(diagonal, 1e-300)), 0.0)
    scaled = hessian * scale[:, None] * scale[None, :]
    return np.linalg.solve(scaled + np.diag(DAMPING + (scale == 0)), gradient * scale) * scale
