"""Quasi-Newton descent (L-BFGS) of a smooth function, in the metric of a preconditioner.

The preconditioner is an approximate inverse of the curvature: the first step is already a Newton step of blocks, and
the pairs of steps and gradient changes teach the couplings between blocks. All ranks make the same steps, because
they have the same numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

Vector = Float[Tensor, " n"]
Pairs = list[tuple[Vector, Vector]]
"""Steps, and the change of the gradient in each."""
PAIRS = 30
"""Steps that are remembered."""
SUFFICIENT = 1e-4
"""Fraction of the decrease that the slope promises which a step must reach (Armijo)."""
MOST_HALVINGS = 4

Extra = TypeVar("Extra")


@dataclass(frozen=True)
class Point(Generic[Extra]):
    """A place, the function and its gradient there, and whatever else the function returned."""

    place: Vector
    value: float
    gradient: Vector
    extra: Extra


def descend(
    function: Callable[[Vector], tuple[float, Vector, Extra]],
    start: Vector,
    precondition: Callable[[Vector], Vector],
    *,
    iterations: int,
    settled: Callable[[Vector, Vector, float], bool],
    limited: Callable[[Vector], Vector] = lambda step: step,
    on_step: Callable[[int, Point], None] = lambda number, point: None,
    pairs: Pairs | None = None,
) -> Point[Extra]:
    """Return the lowest point after at most `iterations` steps.

    It ends earlier when a step is `settled`, or when no step along the direction of descent lowers the function.

    Parameters
    ----------
    precondition
        Applies a symmetric positive approximation of the inverse curvature to a gradient.
    settled
        Says of a step, the gradient after it, and what the function fell by, that all are too small to matter.
    limited
        Shortens a step that is longer than the function can be trusted.
    pairs
        What an earlier descent has learned of the curvature; what this one learns is added.
    """
    point = Point(start, *function(start))
    pairs = [] if pairs is None else pairs
    for number in range(iterations):
        following = None
        if pairs:
            following = _lower(function, point, limited(-_inverse_curvature(point.gradient, pairs, precondition)))
        if following is None:  # what was learned is none, or contradicts the function: forget it
            pairs.clear()
            following = _lower(function, point, limited(-precondition(point.gradient)))
        if following is None:
            return point
        step, change = following.place - point.place, following.gradient - point.gradient
        if torch.dot(step, change) > 1e-10 * step.norm() * change.norm():
            pairs.append((step, change))
            del pairs[:-PAIRS]
        fall, point = point.value - following.value, following
        on_step(number + 1, point)
        if settled(step, point.gradient, fall):
            return point
    return point


def _lower(
    function: Callable[[Vector], tuple[float, Vector, Extra]], point: Point[Extra], direction: Vector
) -> Point[Extra] | None:
    """Return a lower point along `direction`, by halving the step; None if there is none."""
    length, slope = 1.0, torch.dot(direction, point.gradient).item()
    if slope >= 0:
        return None
    for _ in range(MOST_HALVINGS):
        place = point.place + length * direction
        tried = Point(place, *function(place))
        if tried.value <= point.value + SUFFICIENT * length * slope:
            return tried
        length /= 2
    return None


def _inverse_curvature(gradient: Vector, pairs: Pairs, precondition: Callable[[Vector], Vector]) -> Vector:
    """Return the L-BFGS approximation of the inverse curvature times `gradient` (two-loop recursion)."""
    vector, weights = gradient.clone(), []
    for step, change in reversed(pairs):
        weight = torch.dot(step, vector) / torch.dot(step, change)
        weights.append(weight)
        vector -= weight * change
    vector = precondition(vector)
    if pairs:  # the preconditioner's units, from the latest step
        step, change = pairs[-1]
        vector *= torch.dot(step, change) / torch.dot(change, precondition(change))
    for (step, change), weight in zip(pairs, reversed(weights), strict=True):
        vector += step * (weight - torch.dot(change, vector) / torch.dot(step, change))
    return vector
