"""Specimens that reach the border of the images: of a film, a tilted image shows more than an untilted one.

The volume of the alignment is as wide as the images. Matter beside it is projected into the tilted images, where
nothing in the volume can explain it, and the poses follow that misfit. All tilts see in common what lies within half
an image width times cos(theta) of the axis, so pixels outside are weighed out, with a soft edge.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from dptt.analysis.poses import TiltPoses
from dptt.distributed.comm import Communicator
from dptt.solvers.alignment.resampling import Images, of_all_tilts

BORDER_INTENSITY = 0.15
"""Mean intensity along the border, relative to that of whole images, from which the specimen reaches it."""
BORDER = 0.04
"""Width of the border, as a fraction of the side."""
SOFT_EDGE = 0.08
"""Width of the edge of the window, as a fraction of the side."""
MEASURED = 0.3
"""Weight from which a pixel is well measured."""


def border_intensity(images: Images, communicator: Communicator) -> float:
    """Return the mean intensity along the measured border of the images, relative to that of whole images.

    The median over the tilts of all ranks. It is 0 for a particle in vacuum and about 1 for a film.
    """
    height, width = images.values.shape[1:]
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in (height, width))
    border = (rows[:, None] < max(1, round(BORDER * height))) | (columns < max(1, round(BORDER * width)))

    def ratio(tilt: int) -> float:
        values, weights = images.of(tilt)
        measured = weights >= MEASURED * weights.max()
        whole = values[measured].mean() if measured.any() else 0.0
        at_border = values[measured & border]
        return float(at_border.mean() / whole) if len(at_border) and whole > 0 else 0.0

    return float(np.median(of_all_tilts(images.count, communicator, ratio)))


def within_common_field(images: Images, nominal: TiltPoses) -> Images:
    """Return the images with weights that fall to zero outside the field of view that all tilts have in common."""
    theta, psi = np.deg2rad(nominal.euler_angles[:, 1]), np.deg2rad(nominal.euler_angles[:, 2])
    y, x = (
        (np.arange(n) - centre) * size
        for n, centre, size in zip(images.values.shape[1:], images.centre, images.pixel_size, strict=True)
    )
    weights = np.empty_like(images.weights)
    for place, tilt in enumerate(images.tilts):  # one at a time: a series may be large
        turn = psi[tilt]
        across = _window(np.cos(turn) * x[None] + np.sin(turn) * y[:, None], np.cos(theta[tilt]))
        weights[place] = images.weights[place] * (
            across * _window(np.cos(turn) * y[:, None] - np.sin(turn) * x[None], 1.0)
        )
    return replace(images, weights=weights)


def _window(coordinate: Float[np.ndarray, "y x"], fraction: float) -> Float[np.ndarray, "y x"]:
    """Return 1 within `fraction` of the largest distance from the centre, 0 outside, with a raised cosine between."""
    reach = np.abs(coordinate).max()
    inside = (fraction * reach - np.abs(coordinate)) / (SOFT_EDGE * 2 * reach)
    return 0.5 - 0.5 * np.cos(np.pi * inside.clip(0, 1))
