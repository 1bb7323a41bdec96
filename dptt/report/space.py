"""What the rotatable view shows: levels of the isosurface and the traced atoms, for ``web/space.js``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dptt.report.content import numbers
from dptt.report.drawing import robust_limits
from dptt.report.rendering import opacity_levels

MOST_ATOMS = 20_000
"""Spheres that a laptop turns smoothly."""


def space_data(potential: NDArray[np.floating], atoms: Any) -> dict[str, Any]:
    """Return the lowest, the first and the highest level [V] of the isosurface, and atoms (x, y, z) [Å].

    The first level is in the middle of what the shaded views make half transparent. Of more than `MOST_ATOMS` peaks
    the highest are shown.
    """
    low, high = opacity_levels(potential)
    top = robust_limits(potential)[1]
    positions, heights = numbers(atoms, "positions"), numbers(atoms, "heights")
    data: dict[str, Any] = {
        "levels": [low / 3, (low + high) / 2, max(top, high)],
        "atoms": [],
        "heights": [],
        "heightLimits": [0.0, 1.0],
        "atomsName": "Atoms",
    }
    if positions is None or heights is None or positions.shape != (len(heights), 3):
        return data
    known = np.flatnonzero(np.isfinite(heights) & np.isfinite(positions).all(axis=1))
    shown = known[np.argsort(-heights[known], kind="stable")][:MOST_ATOMS]
    data["atoms"] = np.round(positions[shown, ::-1], 3).tolist()
    data["heights"] = np.round(heights[shown], 2).tolist()
    if len(shown):
        data["heightLimits"] = np.percentile(
            heights[shown], [2, 98]
        ).tolist()  # two outliers must not take all colours
    data["atomsName"] = f"{len(shown)} traced peaks"
    return data
