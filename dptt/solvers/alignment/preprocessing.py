"""Preparation of projections before alignment: like [P], with a threshold, so that vacuum is flat and zero."""

import numpy as np
from jaxtyping import Bool, Float

BINS = 256
"""Of the histogram."""
MEASURED = 0.3
"""Weight from which a pixel is well measured."""


def flatten_background(
    values: Float[np.ndarray, "tilt y x"], weights: Float[np.ndarray, "tilt y x"], level: float | None = None
) -> tuple[Float[np.ndarray, "tilt y x"], Float[np.ndarray, " tilt"]]:
    """Return projections minus their background, negative values set to zero, and the levels subtracted.

    Without a `level`, each tilt has its own: the median of the lower of the two classes that Otsu's threshold makes.
    A ptychographic phase has no absolute zero, and neither has a detector with an offset. Only pixels count that are
    well measured by their `weights`: beyond the scan a ptychographic image is zero, as it began, whatever its level.
    """
    pairs = zip(values, weights, strict=True)
    levels = np.array([_background(image[well_measured(of)]) if level is None else level for image, of in pairs])
    flat = np.empty_like(values)
    for image, level_of_image, out in zip(values, levels, flat, strict=True):  # one at a time: a series may be large
        np.maximum(image - level_of_image, 0, out=out, casting="same_kind")
    return flat, levels


def well_measured(weights: Float[np.ndarray, "y x"]) -> Bool[np.ndarray, "y x"]:
    """Return which pixels of an image are well measured; at least one is."""
    return weights >= min(MEASURED, 0.99 * float(weights.max()))


def _background(image: Float[np.ndarray, " pixel"]) -> float:
    low, high = np.percentile(image, [0.1, 99.9])
    if high <= low:
        return float(low)
    counts, edges = np.histogram(image.clip(low, high), BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    below, total = np.cumsum(counts)[:-1], counts.sum()
    mean_below = np.cumsum(counts * centres)[:-1] / np.maximum(below, 1)
    mean_above = (np.sum(counts * centres) - below * mean_below) / np.maximum(total - below, 1)
    threshold = edges[1:-1][np.argmax(below * (total - below) * (mean_above - mean_below) ** 2)]
    return float(np.median(image[image <= threshold]))
