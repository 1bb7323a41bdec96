"""The inner loop of [P] Algorithm 2: a volume from images at fixed poses, by accelerated projected gradients.

Minimises sum_tilts weight |M (P_i c - a_i)|², where M is the measured area, optionally with c >= 0. The step is the
inverse of the largest eigenvalue of the curvature, which power iteration determines, so no step size has to be set.
A ramp filter of the residuals makes the eigenvalues more equal, as filtered back-projection does in a single step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
import torch
from jaxtyping import Float

from dptt.distributed.comm import Communicator
from dptt.solvers.alignment.projector import TiltProjector, from_spectrum, to_spectrum

LOWEST_RESPONSE = 0.04
"""Response of the ramp at frequency zero, as a fraction of that at the Nyquist frequency."""
POWER_ITERATIONS = 5
SAFETY = 1.1
"""A few power iterations underestimate the largest eigenvalue by less than this factor."""


@dataclass(frozen=True)
class AlignedTilt:
    """One tilt in the frame of the tilt axis."""

    projector: TiltProjector
    image: Float[np.ndarray, "y x"]
    weights: Float[np.ndarray, "y x"]
    """How much of each pixel was measured, 0 to 1; they multiply residuals."""


def ramp_filter(width: int, softness: float) -> Float[np.ndarray, " k"]:
    """Return the response at the frequencies of `scipy.fft.rfft` of rows of `width`; at softness 1 it is flat."""
    frequency = scipy.fft.rfftfreq(width) / 0.5
    ramp = np.maximum(frequency, LOWEST_RESPONSE)
    return (ramp ** (1 - softness)).astype(np.float32)


def reconstruct_coefficients(
    tilts: Sequence[AlignedTilt],
    shape: tuple[int, int, int],
    communicator: Communicator,
    *,
    iterations: int,
    nonnegative: bool,
    softness: float,
    eigenvalue: float,
) -> Float[np.ndarray, "z x y"]:
    """Return the B-spline coefficients [V] of the volume that fits the images of all ranks.

    Parameters
    ----------
    tilts
        Those of this rank.
    shape
        Voxels (z, y, x).
    iterations
        Accelerated gradient steps (FISTA), from zero.
    nonnegative
        Whether negative coefficients are set to zero after each step.
    softness
        0 for the full ramp filter, 1 for none (SIRT).
    eigenvalue
        Of `largest_eigenvalue`, for these tilts or a larger set.
    """
    response = ramp_filter(shape[2], softness)
    current: np.ndarray = np.zeros((shape[0], shape[2], shape[1]), np.float32)
    previous, momentum = current, 1.0
    ahead = current
    for _ in range(iterations):
        gradient = _gradient(ahead, tilts, response, communicator)
        current = ahead - gradient / np.float32(SAFETY * eigenvalue)
        if nonnegative:
            np.maximum(current, 0, out=current)
        next_momentum = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = current + np.float32((momentum - 1) / next_momentum) * (current - previous)
        previous, momentum = current, next_momentum
    return current


def largest_eigenvalue(
    tilts: Sequence[AlignedTilt], shape: tuple[int, int, int], communicator: Communicator, *, softness: float
) -> float:
    """Return the largest eigenvalue of the curvature, sum_i P_i^T W F W P_i over the tilts of all ranks."""
    response = ramp_filter(shape[2], softness)
    vector = np.random.default_rng(0).random((shape[0], shape[2], shape[1]), dtype=np.float32)
    value = 1.0
    for _ in range(POWER_ITERATIONS):
        vector = _gradient(vector, tilts, response, communicator, curvature_only=True)
        value = float(np.linalg.norm(vector.ravel()))
        vector /= np.float32(max(value, 1e-30))
    return value


def _gradient(
    coefficients: np.ndarray,
    tilts: Sequence[AlignedTilt],
    response: np.ndarray,
    communicator: Communicator,
    *,
    curvature_only: bool = False,
) -> np.ndarray:
    """Return sum_i P_i^T W F W (P_i c - a_i) over the tilts of all ranks; `curvature_only` leaves out the images."""
    spectrum = to_spectrum(coefficients)
    total = np.zeros_like(spectrum)
    for tilt in tilts:
        residual = tilt.projector.project(spectrum)
        if not curvature_only:
            residual -= tilt.image
        filtered = scipy.fft.rfft(residual * tilt.weights, axis=1) * response
        total += tilt.projector.backproject(scipy.fft.irfft(filtered, residual.shape[1], axis=1) * tilt.weights)
    gradient = np.ascontiguousarray(from_spectrum(total, coefficients.shape[2]))
    return communicator.sum_(torch.from_numpy(gradient)).numpy()
