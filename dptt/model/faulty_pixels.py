"""Which detector pixels are dead or hot: the one rule for them, by the mean pattern of a tilt."""

import numpy as np
from jaxtyping import Bool, Float

HOT = 3.0
"""Multiple of its brightest neighbour that makes a pixel hot."""
WIDE_DISK = 2.0
"""Radius [pixels] of the bright disk from which hot pixels are looked for: every feature of a pattern is as wide. A
narrower beam may well be one bright pixel."""
SIGNIFICANT_COUNT = 30.0
"""Counted electrons that are no matter of chance."""
BRIGHT_NEIGHBOURS = 6
"""Neighbours, of eight, that must count for a pixel that does not to be dead: the dark pixels beside a bright area
have fewer."""


def faulty_pixels(
    mean: Float[np.ndarray, "ky kx"], valid: Bool[np.ndarray, "ky kx"], num_patterns: int | float, disk_radius: float
) -> tuple[Bool[np.ndarray, "ky kx"], Bool[np.ndarray, "ky kx"]]:
    """Return hot pixels and dead ones, found among the valid ones by comparison with their eight neighbours.

    Parameters
    ----------
    mean
        Mean over patterns [electrons].
    valid
        Pixels that are known to be good; all others are neither hot nor dead.
    num_patterns
        Of which `mean` is the mean; fewer where the electrons of `mean` are too many.
    disk_radius
        Of the aperture's image [pixels].
    """
    around = np.pad(np.where(valid, mean, np.nan), 1, constant_values=np.nan)
    rows, columns = mean.shape
    offsets = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    neighbours = np.stack([around[i : i + rows, j : j + columns] for i, j in offsets])
    unknown = np.isnan(neighbours)
    highest = np.where(unknown, -np.inf, neighbours).max(0)
    highest[highest < 0] = np.inf  # no neighbour to compare with
    bright = np.sort(np.where(unknown, 0.0, neighbours), axis=0)[-BRIGHT_NEIGHBOURS]
    hot = valid & (mean > HOT * highest) & (mean * num_patterns > SIGNIFICANT_COUNT) & (disk_radius >= WIDE_DISK)
    dead = valid & (mean == 0) & (bright * num_patterns > SIGNIFICANT_COUNT)
    return hot, dead
