"""Input of the bright-field methods: virtual images of groups of detector pixels inside the bright disk."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

TAPER = 0.125
"""Fraction of the scan, at each edge, over which images fade to their mean, because they are not periodic."""


@dataclass(frozen=True)
class BrightFieldData:
    """Virtual images of one tilt, along the raster's own axes.

    Parameters
    ----------
    images
        Mean electrons per detector pixel of each group, (pixel, scan_y, scan_x).
    angles
        Of the groups in the stored detector frame (y, x) [mrad], from the centre of the bright disk.
    counts
        Mean electrons per pattern of each group.
    step
        Of the scan along (y, x) [Å].
    wavelength
        [Å].
    semiangle
        Of the aperture [mrad].
    pixel_angle
        Width of a group [rad].
    centre_of_mass
        Of whole patterns, (2, scan_y, scan_x) as (y, x) [mrad] in the stored detector frame.
    """

    images: Float[Tensor, "pixel scan_y scan_x"]
    angles: Float[Tensor, "pixel 2"]
    counts: Float[Tensor, " pixel"]
    step: tuple[float, float]
    wavelength: float
    semiangle: float
    pixel_angle: float
    centre_of_mass: Float[Tensor, "2 scan_y scan_x"]

    @property
    def scan_shape(self) -> tuple[int, int]:
        """Positions along (y, x)."""
        return self.images.shape[1], self.images.shape[2]

    def weights(self) -> Float[Tensor, " pixel"]:
        """Return the share of each group in the electrons, the best weight of its image at shot noise."""
        return self.counts / self.counts.sum()

    def tapered_images(self) -> Float[Tensor, "pixel scan_y scan_x"]:
        """Return the images relative to their means, minus one, fading out at the edges of the scan."""
        window = taper(self.scan_shape, self.images.dtype)
        mean = (self.images * window).sum((1, 2), keepdim=True) / window.sum()
        return (self.images / mean - 1) * window


def taper(shape: tuple[int, int], dtype: torch.dtype = torch.float64) -> Float[Tensor, "y x"]:
    """Return a window that is one inside and falls to zero as a cosine over `TAPER` of each edge."""
    sides = []
    for n in shape:
        distance = torch.minimum(torch.arange(n) + 0.5, n - torch.arange(n) - 0.5).to(dtype)
        sides.append(torch.sin(torch.pi / 2 * (distance / max(TAPER * n, 1)).clamp(max=1)) ** 2)
    return sides[0][:, None] * sides[1]
