"""Waves on finer pixels than the voxels, so that they hold larger angles than the volume and the detector."""

import math
from dataclasses import replace
from fractions import Fraction

from dptt.model.forward import Geometry

PADDING_FRACTIONS = (1, 2, 3, 4)
"""Denominators of the padding: volumes have a multiple of it in voxels."""


def padded(geometry: Geometry, padding: float, *, grows: bool) -> Geometry:
    """Return a geometry whose waves reach `padding` times the angle that the voxels hold, or a little farther.

    Window and slices must have whole pixels: the factor of an axis is a fraction whose denominator divides both their
    voxels. With `grows` the volume is first widened, so that the window alone counts.
    """
    if padding == 1:
        return geometry
    depth, height, width = geometry.volume_shape
    window_y, window_x = geometry.window_shape
    y = _padding_factor(padding, window_y, 0 if grows else height)
    x = _padding_factor(padding, window_x, 0 if grows else width)
    if grows:
        height, width = (2 * f.denominator * math.ceil(n / (2 * f.denominator)) for n, f in ((height, y), (width, x)))
    return replace(
        geometry,
        volume_shape=(depth, height, width),
        window_shape=(int(window_y * y), int(window_x * x)),
        pixels=(int(height * y), int(width * x)),
    )


def _padding_factor(padding: float, window: int, image: int) -> Fraction:
    """Return the smallest fraction from `padding` on whose denominator divides both numbers; 0 is divided by all."""
    common = math.gcd(window, image)
    return min(Fraction(math.ceil(padding * d - 1e-9), d) for d in PADDING_FRACTIONS if common % d == 0)
