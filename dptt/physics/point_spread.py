"""The point spread of a detector: electrons that are counted beside the pixel that they hit.

A sampled Gaussian, w_n = q^(n²) / sum q^(m²) with q = exp(-1 / (2 s²)), along y and x. Its parameter here is not s
but the variance v = sum n² w_n [pixels²]: near zero each neighbour along an axis gets v/2 of the electrons, so that
patterns depend on v linearly and on s hardly at all. Weights are an exponential family in n², whence

    dw_n/dv = w_n (n² - v) / (sum m⁴ w_m - v²)

Windows are periodic: what leaves a pattern at one edge comes back at the other.
"""

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

LARGEST_VARIANCE = 9.0
"""[pixels²] Detectors that spread more would rather be binned."""
_SMALLEST_VARIANCE, _LEAST_WEIGHT = 1e-9, 1e-7
_HALVINGS = 80


def width_of(variance: float) -> float:
    """Return s [pixels] of a variance [pixels²]; zero of none."""
    return 0.0 if variance < _SMALLEST_VARIANCE else math.sqrt(-0.5 / math.log(_ratio(variance)))


def variance_of(width: float) -> float:
    """Return the variance [pixels²] of a sampled Gaussian whose s is `width` [pixels]."""
    return _variance(math.exp(-0.5 / width**2)) if width > 0 else 0.0


@lru_cache(maxsize=64)
def spread_weights(variance: float) -> Float[Tensor, " tap"]:
    """Return w_0, w_1, ... of a variance [pixels²], double precision; those of -n are the same."""
    if variance < _SMALLEST_VARIANCE:
        return torch.ones(1, dtype=torch.float64)
    n = torch.arange(_reach(_ratio(variance)), dtype=torch.float64)
    weights = _ratio(variance) ** (n * n)
    return weights / _both_sides(weights)


@lru_cache(maxsize=64)
def spread_slopes(variance: float) -> Float[Tensor, " tap"]:
    """Return dw_n/dv of a variance [pixels²]."""
    weights = spread_weights(max(variance, 2 * _SMALLEST_VARIANCE))
    squares = torch.arange(len(weights), dtype=torch.float64) ** 2
    mean = _both_sides(weights * squares)
    return weights * (squares - mean) / (_both_sides(weights * squares**2) - mean**2)


def spread(
    intensity: Float[Tensor, "*pos y x"],
    along_y: Float[Tensor, " _"],
    along_x: Float[Tensor, " _"] | None = None,
) -> Float[Tensor, "*pos y x"]:
    """Return patterns as a detector of these weights counts them; its own adjoint.

    `along_x` are the weights along x, if they are others than `along_y`.
    """
    for weights, axis in ((along_y, -2), (along_y if along_x is None else along_x, -1)):
        first, *others = weights.tolist()
        total = first * intensity
        for n, weight in enumerate(others, 1):
            total += weight * (intensity.roll(n, axis) + intensity.roll(-n, axis))
        intensity = total
    return intensity


def spread_derivative(intensity: Float[Tensor, "*pos y x"], variance: float) -> Float[Tensor, "*pos y x"]:
    """Return the derivative of what the detector counts by the variance [1/pixel²]."""
    weights, slopes = spread_weights(variance), spread_slopes(variance)
    return spread(intensity, slopes, weights) + spread(intensity, weights, slopes)


def _both_sides(values: Float[Tensor, " tap"]) -> float:
    return (2 * values.sum() - values[0]).item()


def _reach(ratio: float) -> int:
    """Return how many weights there are, that of zero included."""
    return 1 + max(1, math.ceil(math.sqrt(math.log(_LEAST_WEIGHT) / math.log(ratio))))


def _variance(ratio: float) -> float:
    n = torch.arange(_reach(ratio), dtype=torch.float64)
    weights = ratio ** (n * n)
    return _both_sides(weights * n * n) / _both_sides(weights)


@lru_cache(maxsize=64)
def _ratio(variance: float) -> float:
    """Return q of a variance, which grows with it, by halving intervals."""
    if variance > LARGEST_VARIANCE:
        raise ValueError(f"a detector that spreads by {variance:.3g} pixels²; expected at most {LARGEST_VARIANCE:g}")
    low, high = 0.0, math.exp(-0.5 / (LARGEST_VARIANCE + 1))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _variance(middle) < variance else (low, middle)
    return (low + high) / 2
