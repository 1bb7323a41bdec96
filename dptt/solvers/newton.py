"""Damped Newton steps, for the scan positions and poses of the end-to-end solver and for the poses of the alignment.

Both functions accept NumPy arrays as well as tensors on the CPU, and solve each with its own library.
"""

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Array = TypeVar("Array", np.ndarray, Tensor)

LOWEST_CURVATURE = 1e-12
"""A parameter whose diagonal element is below this fraction of the largest one does not move."""


def damped_newton_step(gradient: Array, hessian: Array, damping: float = 1e-2) -> Array:
    """Return -(H + damping diag H)⁻¹ g; see `damped_solve`."""
    return -damped_solve(hessian, gradient, damping)


def damped_solve(hessian: Array, vector: Array, damping: float) -> Array:
    """Return (H + damping diag H)⁻¹ v; the result is zero along parameters without curvature.

    The system is solved in units in which the diagonal of H is one, so radians and pixels can stand side by side.

    Parameters
    ----------
    hessian
        H, of shape (..., n, n), symmetric and positive semidefinite.
    vector
        v, of shape (..., n).
    damping
        Fraction of the diagonal that is added to it (Levenberg-Marquardt).
    """
    library: Any = torch if isinstance(hessian, Tensor) else np
    identity = library.eye(hessian.shape[-1], dtype=hessian.dtype)
    diagonal = library.einsum("...ii->...i", hessian)
    moves = diagonal > LOWEST_CURVATURE * library.amax(diagonal, -1)[..., None]
    scale = library.where(moves, _reciprocal_root(library.where(moves, diagonal, 1.0)), 0.0)
    scaled = hessian * scale[..., :, None] * scale[..., None, :]
    ridge = damping + library.asarray(~moves, dtype=hessian.dtype)  # a row of zeros gets a one on its diagonal
    solution = library.linalg.solve(scaled + ridge[..., None] * identity, (vector * scale)[..., None])
    return solution[..., 0] * scale


def _reciprocal_root(values: Array) -> Array:
    """Return 1/sqrt(values), the same to the last bit in both libraries; 1 / torch.sqrt(values) is not."""
    return values.rsqrt() if isinstance(values, Tensor) else 1 / np.sqrt(values)
