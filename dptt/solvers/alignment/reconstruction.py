"""The inner loop of [P] Algorithm 2: a volume from images at fixed poses, by accelerated projected gradients.

Minimises sum_tilts weight |M (P_i c - a_i)|², M being the measured area, with c >= 0 if asked. The step is the
inverse of the curvature's largest eigenvalue, found by power iteration, so that none needs to be chosen; a ramp
filter of the residuals evens the eigenvalues out, which is what filtered back-projection does in one step.
"""

from collections.abc import Sequence

import numpy as np
import scipy.fft
import torch
from jaxtyping import Float

from dptt.distributed.comm import Communicator
from dptt.solvers.alignment.projector import TiltProjector, from_spectrum, to_spectrum

LOWEST_RESPONSE = 0.04
"""Of the ramp at frequency zero, as a fraction of that at Nyquist's."""
POWER_ITERATIONS = 5
SAFETY = 1.1
"""A few power iterations underestimate the largest eigenvalue by less than this."""


def ramp_filter(width: int, softness: float) -> Float[np.ndarray, " k"]:
    """Return the response at the frequencies of `scipy.fft.rfft` of rows of `width`; softness 1 is none at all."""
    frequency = scipy.fft.rfftfreq(width) / 0.5
    ramp = np.maximum(frequency, LOWEST_RESPONSE)
    return (ramp ** (1 - softness)).astype(np.float32)


def reconstruct_coefficients(
    projectors: Sequence[TiltProjector],
    images: Sequence[Float[np.ndarray, "y x"]],
    weights: Sequence[Float[np.ndarray, "y x"]],
    shape: tuple[int, int, int],
    communicator: Communicator,
    *,
    iterations: int,
    nonnegative: bool,
    softness: float,
    eigenvalue: float,
) -> Float[np.ndarray, "z x y"]:
    """Return the B-spline coefficients [V] of the volume that explains this rank's and all other ranks' images.

    Parameters
    ----------
    projectors, images, weights
        Of the tilts that this rank owns; weights multiply residuals.
    shape
        Voxels (z, y, x).
    iterations
        Accelerated gradient steps (FISTA), from zero.
    nonnegative
        Whether negative coefficients are set to zero after each step.
    softness
        0 for the full ramp filter, 1 for none (SIRT).
    eigenvalue
        Of `largest_eigenvalue`, for these tilts or more.
    """
    response = ramp_filter(shape[2], softness)
    current: np.ndarray = np.zeros((shape[0], shape[2], shape[1]), np.float32)
    previous, momentum = current, 1.0
    ahead = current
    for _ in range(iterations):
        gradient = _gradient(ahead, projectors, images, weights, response, communicator)
        current = ahead - gradient / np.float32(SAFETY * eigenvalue)
        if nonnegative:
            np.maximum(current, 0, out=current)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = current + np.float32((momentum - 1) / following) * (current - previous)
        previous, momentum = current, following
    return current


def _gradient(
    coefficients: np.ndarray,
    projectors: Sequence[TiltProjector],
    images: Sequence[np.ndarray] | None,
    weights: Sequence[np.ndarray],
    response: np.ndarray,
    communicator: Communicator,
) -> np.ndarray:
    """Return sum_i P_i^T W F W (P_i c - a_i) over the tilts of all ranks; without images, the curvature times c."""
    spectrum = to_spectrum(coefficients)
    total = np.zeros_like(spectrum)
    for number, (projector, weight) in enumerate(zip(projectors, weights, strict=True)):
        residual = projector.project(spectrum)
        if images is not None:
            residual -= images[number]
        filtered = scipy.fft.rfft(residual * weight, axis=1) * response
        total += projector.backproject(scipy.fft.irfft(filtered, residual.shape[1], axis=1) * weight)
    gradient = np.ascontiguousarray(from_spectrum(total, coefficients.shape[2]))
    return communicator.sum_(torch.from_numpy(gradient)).numpy()


def largest_eigenvalue(
    projectors: Sequence[TiltProjector],
    weights: Sequence[Float[np.ndarray, "y x"]],
    shape: tuple[int, int, int],
    communicator: Communicator,
    softness: float,
) -> float:
    """Return the largest eigenvalue of the curvature, sum_i P_i^T W F W P_i over the tilts of all ranks."""
    response = ramp_filter(shape[2], softness)
    vector = np.random.default_rng(0).random((shape[0], shape[2], shape[1]), dtype=np.float32)
    value = 1.0
    for _ in range(POWER_ITERATIONS):
        vector = _gradient(vector, projectors, None, weights, response, communicator)
        value = float(np.linalg.norm(vector.ravel()))
        vector /= np.float32(max(value, 1e-30))
    return value
