"""Pose parameters from the data and from what the stage says: maximum a posteriori steps, their errors, a verdict.

`alignment` and `tomography` both minimise

    -log p(data | x) + sum_i (x_i - x0_i)² / (2 sigma_i²)

with the nominal angles x0 and a width sigma for each axis. The data alone would move the parameters by the Newton
step s, with the information matrix I, the inverse of the covariance of what they find. The posterior moves them by
dx,

    (I + 1/sigma²) dx = I s - (x - x0)/sigma²    or    dx = s - (I + 1/sigma²)⁻¹ (x + s - x0)/sigma²

and its covariance is the inverse of I + 1/sigma². Where nothing but counting statistics were wrong, I would be the
Gauss-Newton curvature of -log p: that of a loss times `information_per_loss`. Callers reduce it by what is wrong
besides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dptt.solvers.newton import damped_solve

AXES = ("phi", "theta", "psi")
Array = TypeVar("Array", np.ndarray, Tensor)

STANDARD_ERRORS = 3.0
"""A group of parameters is kept only beyond this many standard errors of what is compared."""
RIDGE = 1e-10
"""Keeps a matrix invertible in which two parameters do the same."""
FISHER_INFORMATION = 4.0
"""Of the amplitude sqrt(I) of Poisson counts: their variance is 1/4, whatever the dose."""


def information_per_loss(curvature: float) -> float:
    """Return the factor from a loss to -log p, for a loss with d²L/d(sqrt I)² = `curvature` at the optimum.

    The amplitude loss sum (sqrt I - sqrt n)² has curvature 2 and is half of -log p; the Poisson loss has curvature 4
    and is -log p itself.
    """
    return FISHER_INFORMATION / curvature


def prior_precision(widths: Sequence[float], parameters: int) -> list[float]:
    """Return 1/sigma² of Euler angles of these `widths`, and zero for the other `parameters` behind them."""
    return [1 / width**2 for width in widths] + [0.0] * (parameters - len(widths))


def posterior_step(step: Array, information: Array, deviation: Array, precision: Array) -> Array:
    """Return the step dx of the posterior; see the module.

    Parameters
    ----------
    step
        s, the Newton step of the data alone, of shape (..., n).
    information
        I, of shape (..., n, n), symmetric and positive semidefinite.
    deviation
        x - x0, of shape (..., n).
    precision
        1/sigma² of the prior, of shape (n,); zero for a parameter without one.
    """
    return step - damped_solve(_with_prior(information, precision), precision * (deviation + step), RIDGE)


def posterior_errors(information: Array, precision: Array) -> Array:
    """Return the standard deviations (..., n) of parameters: of the inverse of I + 1/sigma².

    Infinite for a parameter that neither data nor prior determine.
    """
    library: Any = torch if isinstance(information, Tensor) else np
    posterior = _with_prior(information, precision)
    identity = library.eye(posterior.shape[-1], dtype=posterior.dtype)
    known = library.einsum("...ii->...i", posterior) > 0
    columns = [damped_solve(posterior, identity[i] + 0 * posterior[..., 0], RIDGE) for i in range(len(identity))]
    variances = library.stack([column[..., i] for i, column in enumerate(columns)], -1)
    return library.where(known, variances.clip(min=0) ** 0.5, float("inf"))


def _with_prior(information: Array, precision: Array) -> Array:
    library: Any = torch if isinstance(information, Tensor) else np
    return information + precision[..., None] * library.eye(information.shape[-1], dtype=information.dtype)


def exceeds_errors(deviations: Float[np.ndarray, " n"], errors: Float[np.ndarray, " n"]) -> bool:
    """Return whether deviations from the nominal values are more than their own errors.

    If the nominal values were right, the mean square of deviation / error would be 1 ± sqrt(2/n). Below
    1 + `STANDARD_ERRORS` sqrt(2/n) the nominal values are at least as good as those found: the expected square error
    of what was found is that of its errors, and that of the nominal values is what the deviations have beyond these.
    """
    known = np.isfinite(errors) & (errors > 0)
    if not known.any():
        return False
    count = np.count_nonzero(known)
    score = np.mean((deviations[known] / errors[known]) ** 2)
    return bool(score > 1 + STANDARD_ERRORS * np.sqrt(2 / count))


def lowers(
    without: Float[np.ndarray, "tilt block"],
    with_: Float[np.ndarray, "tilt block"],
    *,
    least: float,
) -> bool:
    """Return whether the misfit of held-out data is lower `with_` a refinement than `without` it.

    The sum of the paired differences must exceed `STANDARD_ERRORS` standard errors of itself, and `least` times the
    misfit. A refinement helps one tilt more than another, so the error is that within the tilts: from the scatter of
    the blocks of held-out data of each, or the difference itself where a tilt has a single block. Blocks without data
    are NaN in both.
    """
    gain = without - with_
    known = np.isfinite(gain)
    number = known.sum(1)
    filled = np.where(known, gain, 0.0)
    mean = filled.sum(1) / np.maximum(number, 1)
    scatter = np.where(known, gain - mean[:, None], 0.0)
    several = np.square(scatter).sum(1) * number / np.maximum(number - 1, 1)
    variance = np.where(number > 1, several, np.square(filled).sum(1)).sum()
    return bool(filled.sum() > max(STANDARD_ERRORS * np.sqrt(variance), least * np.nansum(without)))


def relative_gain(without: Float[np.ndarray, "tilt block"], with_: Float[np.ndarray, "tilt block"]) -> float:
    """Return by which fraction a refinement lowers the misfit of held-out data; 0 if there are none."""
    total = np.nansum(without)
    return float((total - np.nansum(with_)) / total) if total > 0 else 0.0


@dataclass(frozen=True)
class Verdict:
    """What was found out about one group of refined parameters."""

    group: str
    unit: str
    kept: bool
    deviation: float
    """Root mean square difference from the nominal values, without what no data determine [unit]."""
    error: float
    """Root mean square standard deviation of the values [unit]."""
    gain: float
    """Relative decrease of the misfit of held-out data; 0 without any."""

    def sentence(self) -> str:
        """Return the verdict for log and report."""
        unit = self.unit if self.unit == "°" else f" {self.unit}"
        name = f"Angles {self.group}" if self.group in AXES else self.group.capitalize()
        numbers = (
            f"refined values differ from these by {self.deviation:.3f}{unit} rms, with errors of "
            f"{self.error:.3f}{unit}, and change the misfit of held-out data by {-100 * self.gain:+.3f} %"
        )
        if self.kept:
            return f"{name} refined instead of the nominal values: {numbers}."
        return f"{name} kept at the nominal values, as refining them does not help beyond doubt: {numbers}."


def root_mean_square(values: Float[np.ndarray, "..."]) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))
