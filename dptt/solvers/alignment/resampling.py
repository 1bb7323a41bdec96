"""Measured images binned and resampled to the frame (u, s) in which the volume is projected.

A rank needs the images of its own tilts only; what is needed of all tilts is small, and summed by `of_all_tilts`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.ndimage
import torch
from jaxtyping import Float

from dptt.analysis.poses import TiltPoses
from dptt.distributed.comm import Communicator
from dptt.distributed.partition import block_range

MASK_FLOOR = 0.5
"""Aligned pixels of which less than this fraction was measured have weight zero: their values are extrapolated."""


@dataclass(frozen=True)
class Images:
    """Images of a rank's tilts, or of more, on one grid, and the measured fraction of every pixel.

    The pixel (j_y, j_x) lies at ((j_y, j_x) - centre) · pixel_size from the point where the rotation axis meets the
    beam.
    """

    values: Float[np.ndarray, "tilt y x"]
    """[V Å], float32."""
    weights: Float[np.ndarray, "tilt y x"]
    """0 to 1."""
    pixel_size: tuple[float, float]
    """(y, x) [Å]"""
    centre: tuple[float, float]
    """Index (y, x) of the rotation centre; n//2 as measured."""
    tilts: range
    """Numbers of the tilts in the series."""
    count: int
    """Tilts of the series."""

    def of(self, tilt: int) -> tuple[Float[np.ndarray, "y x"], Float[np.ndarray, "y x"]]:
        """Return values and weights of the tilt of this number."""
        place = self.tilts.index(tilt)
        return self.values[place], self.weights[place]


def whole_images(
    values: Float[np.ndarray, "tilt y x"],
    weights: Float[np.ndarray, "tilt y x"],
    pixel_size: tuple[float, float],
    tilts: range | None = None,
    count: int | None = None,
) -> Images:
    """Return images as measured, the rotation centre at pixel n//2; of all tilts, or of these out of a `count`."""
    centre = tuple(float(n // 2) for n in values.shape[1:])
    values, weights = (array.astype(np.float32, copy=False) for array in (values, weights))
    tilts, count = tilts or range(len(values)), count or len(values)
    return Images(values, weights, pixel_size, centre, tilts, count)  # type: ignore[arg-type]


def of_all_tilts(
    count: int,
    communicator: Communicator,
    of_one: Callable[[int], float | np.ndarray],
    shape: tuple[int, ...] = (),
    dtype: type[np.floating] = np.float64,
) -> Float[np.ndarray, "tilt ..."]:
    """Return a number or an array of a `shape` for each of a `count` of tilts, on every rank.

    Every rank computes it for its own tilts.
    """
    table = np.zeros((count, *shape), dtype)
    for tilt in block_range(count, communicator.size, communicator.rank):
        table[tilt] = of_one(tilt)
    return np.asarray(communicator.sum_(torch.from_numpy(table)).numpy())


def binned(images: Images, factor: int) -> Images:
    """Return images averaged over squares of `factor` pixels; incomplete squares at the far edges are dropped."""
    if factor == 1:
        return images
    count, height, width = images.values.shape
    cut = (slice(height // factor * factor), slice(width // factor * factor))
    shape = (height // factor, factor, width // factor, factor)
    values, weights = (np.empty((count, shape[0], shape[2]), np.float32) for _ in range(2))
    for tilt in range(count):  # one at a time: a series may be large
        image, weight = images.values[tilt][cut], images.weights[tilt][cut]
        weights[tilt] = weight.reshape(shape).mean((1, 3))
        values[tilt] = (image * weight).reshape(shape).mean((1, 3)) / np.maximum(weights[tilt], 1e-6)
    y, x = ((c - (factor - 1) / 2) / factor for c in images.centre)
    size = (images.pixel_size[0] * factor, images.pixel_size[1] * factor)
    return replace(images, values=values, weights=weights, pixel_size=size, centre=(y, x))


def aligned_image(
    images: Images,
    tilt: int,
    euler_angles: Float[np.ndarray, "3"],
    translation: Float[np.ndarray, "2"],
    *,
    shape: tuple[int, int],
    voxel_size: float,
    order: int = 3,
) -> tuple[Float[np.ndarray, "y x"], Float[np.ndarray, "y x"]]:
    """Return image and weights of one tilt in the frame (u, s) of `projector`, psi and tau undone.

    The image is a sum over voxels [V]: the measured values divided by the voxel size. `shape` (y, x) and `voxel_size`
    [Å] are those of the volume.
    """
    phi, theta, psi = np.deg2rad(euler_angles)
    to_measured = np.array(  # from (u, s) to r' (y, x)
        [
            [np.cos(psi) * np.cos(phi) + np.sin(psi) * np.sin(theta) * np.sin(phi), np.sin(psi)],
            [-np.sin(psi) * np.cos(phi) + np.cos(psi) * np.sin(theta) * np.sin(phi), np.cos(psi)],
        ]
    )
    size = np.asarray(images.pixel_size)
    matrix = to_measured * voxel_size / size[:, None]
    middle = np.array([n // 2 for n in shape])
    offset = np.asarray(images.centre) + translation / size - matrix @ middle
    image, measured = images.of(tilt)
    weights = scipy.ndimage.affine_transform(measured, matrix, offset, shape, order=1, mode="constant", cval=0.0)
    values = scipy.ndimage.affine_transform(image, matrix, offset, shape, order=order, mode="nearest")
    weights[weights < MASK_FLOOR] = 0
    return (values * (weights > 0) * np.cos(phi) / voxel_size).astype(np.float32), weights.astype(np.float32)


def aligned_lines(
    images: Images, poses: TiltPoses, communicator: Communicator
) -> tuple[Float[np.ndarray, "tilt x"], Float[np.ndarray, "tilt y"]]:
    """Return the central row of every image [V Å] with psi and tau undone, and its mean over x, on every rank.

    They are on the measured grid, for display.
    """
    size, (height, width) = min(images.pixel_size), images.values.shape[1:]

    def of_one(tilt: int) -> np.ndarray:
        angles, shift = poses.euler_angles[tilt], poses.translations[tilt]
        image, _ = aligned_image(images, tilt, angles, shift, shape=(height, width), voxel_size=size, order=1)
        return np.concatenate([image[height // 2], image.mean(1)]) * size

    lines = of_all_tilts(images.count, communicator, of_one, (width + height,))
    return lines[:, :width], lines[:, width:]
