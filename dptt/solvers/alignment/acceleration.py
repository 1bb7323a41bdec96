"""Anderson's acceleration of a fixed-point iteration: the long way that many equal small steps would go, in a few.

Tilts that pull each other are slow: each is aligned to a volume that the others' errors have shaped. The steps of the
last few iterations tell how they are coupled.
"""

import numpy as np
from jaxtyping import Float

DEPTH = 4
RIDGE = 1e-6


class Acceleration:
    """Remembers the last steps of one iteration."""

    def __init__(self) -> None:
        self._places: list[np.ndarray] = []
        self._steps: list[np.ndarray] = []
        self._place: np.ndarray | None = None

    def __call__(self, step: Float[np.ndarray, "tilt 5"]) -> Float[np.ndarray, "tilt 5"]:
        """Return the step to take instead of `step`."""
        place = np.zeros(step.size) if self._place is None else self._place
        self._places, self._steps = [*self._places, place][-DEPTH - 1 :], [*self._steps, step.ravel()][-DEPTH - 1 :]
        taken = step.ravel().copy()
        if len(self._steps) > 1:
            by_step, by_place = np.diff(self._steps, axis=0), np.diff(self._places, axis=0)
            normal = by_step @ by_step.T
            normal += RIDGE * np.trace(normal) * np.eye(len(normal))
            taken -= np.linalg.solve(normal, by_step @ taken) @ (by_place + by_step)
        self._place = place + taken
        return taken.reshape(step.shape)
