"""Anderson acceleration of a fixed-point iteration: a few long steps instead of many similar short ones.

Each tilt is aligned to a volume that contains the errors of the others, so joint errors of the tilts decay slowly.
The last few steps show how the tilts are coupled.
"""

import numpy as np
from jaxtyping import Float

DEPTH = 4
"""Differences of steps that are combined."""
RIDGE = 1e-6
"""Of the least-squares problem, as a fraction of its trace."""


class Acceleration:
    """One iteration and its last few steps."""

    def __init__(self) -> None:
        self._points: list[np.ndarray] = []
        self._steps: list[np.ndarray] = []
        self._point: np.ndarray | None = None

    def __call__(self, step: Float[np.ndarray, "tilt 5"]) -> Float[np.ndarray, "tilt 5"]:
        """Return the step to take instead of `step`."""
        point = np.zeros(step.size) if self._point is None else self._point
        self._points, self._steps = [*self._points, point][-DEPTH - 1 :], [*self._steps, step.ravel()][-DEPTH - 1 :]
        accelerated = step.ravel().copy()
        if len(self._steps) > 1:
            step_changes, point_changes = np.diff(self._steps, axis=0), np.diff(self._points, axis=0)
            normal = step_changes @ step_changes.T
            normal += RIDGE * np.trace(normal) * np.eye(len(normal))
            accelerated -= np.linalg.solve(normal, step_changes @ accelerated) @ (point_changes + step_changes)
        self._point = point + accelerated
        return accelerated.reshape(step.shape)
