"""The borders that refined scan positions and translations may not cross: beyond them windows would wrap around.

A run refuses positions beyond the border when it starts; here what refinement moves is kept inside. Only a periodic
specimen has no borders.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dptt.model.forward import Geometry

NEARLY_HALF = 0.499
"""Pixels by which a position may be beyond the outermost corner, to which it is rounded."""
MARGIN = 5
"""Voxels by which the log advises to raise `volume.margin`: the default once more."""


def within_volume(
    positions: Float[Tensor, "pos 2"], geometry: Geometry, before: Float[Tensor, "pos 2"]
) -> tuple[Float[Tensor, "pos 2"], Bool[Tensor, " pos"]]:
    """Return `positions` [Å] moved to where their windows lie in the volume, and which had to be moved.

    Those that are further out `before` the step already do not jump: they only go no further.
    """
    if geometry.periodic:
        return positions, torch.zeros(len(positions), dtype=torch.bool)
    image, window = torch.tensor(geometry.image_shape), torch.tensor(geometry.window_shape)
    first = window // 2 - image // 2
    lowest, highest = first - NEARLY_HALF, first + image - window + NEARLY_HALF
    pixel = positions.new_tensor(geometry.sampling)
    lowest, highest = torch.minimum(lowest * pixel, before), torch.maximum(highest * pixel, before)
    inside = torch.clamp(positions, lowest, highest)
    return inside, (inside != positions).any(1)


def over_the_scan(translation: Float[Tensor, "2"], geometry: Geometry) -> tuple[Float[Tensor, "2"], bool]:
    """Return `translation` [Å] limited to half the extent of the volume, and whether it was more.

    Further out, the middle of the scan would see nothing of the volume.
    """
    if geometry.periodic:
        return translation, False
    half = translation.new_tensor([n / 2 * d for n, d in zip(geometry.image_shape, geometry.sampling, strict=True)])
    inside = torch.clamp(translation, -half, half)
    return inside, bool((inside != translation).any())


def advice(positions: int, translations: int) -> str:
    """Return the warning for numbers of positions and translations kept inside; empty if there is none."""
    kept = [
        f"{number} {what} would leave the volume and {'is' if number == 1 else 'are'} kept at its border"
        for number, what in ((positions, "refined scan position(s)"), (translations, "refined translation(s)"))
        if number
    ]
    if not kept:
        return ""
    return f"{'; '.join(kept)}. Raise volume.margin by {MARGIN} voxels or more, or enlarge volume.shape if it is set"
