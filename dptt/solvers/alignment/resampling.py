"""Measured images binned and resampled to the frame (u, s) in which the volume is projected."""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from jaxtyping import Float

from dptt.analysis.poses import TiltPoses

MASK_FLOOR = 0.5
"""Aligned pixels of which less than this fraction was measured have weight zero: their values are extrapolated."""


@dataclass(frozen=True)
class Images:
    """Images of all tilts on one grid, and the measured fraction of every pixel.

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


def whole_images(
    values: Float[np.ndarray, "tilt y x"],
    weights: Float[np.ndarray, "tilt y x"],
    pixel_size: tuple[float, float],
) -> Images:
    """Return images as measured, the rotation centre at pixel n//2."""
    centre = tuple(float(n // 2) for n in values.shape[1:])
    values, weights = (array.astype(np.float32, copy=False) for array in (values, weights))
    return Images(values, weights, pixel_size, centre)  # type: ignore[arg-type]


def binned(images: Images, factor: int) -> Images:
    """Return images averaged over squares of `factor` pixels; incomplete squares at the far edges are dropped."""
    if factor == 1:
        return images
    count, height, width = images.values.shape
    cut = (slice(None), slice(height // factor * factor), slice(width // factor * factor))
    shape = (count, height // factor, factor, width // factor, factor)
    weights = images.weights[cut].reshape(shape).mean((2, 4))
    values = (images.values * images.weights)[cut].reshape(shape).mean((2, 4)) / np.maximum(weights, 1e-6)
    y, x = ((c - (factor - 1) / 2) / factor for c in images.centre)
    size = (images.pixel_size[0] * factor, images.pixel_size[1] * factor)
    return Images(values, weights, size, (y, x))


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
    weights = scipy.ndimage.affine_transform(
        images.weights[tilt], matrix, offset, shape, order=1, mode="constant", cval=0.0
    )
    values = scipy.ndimage.affine_transform(images.values[tilt], matrix, offset, shape, order=order, mode="nearest")
    weights[weights < MASK_FLOOR] = 0
    return (values * (weights > 0) * np.cos(phi) / voxel_size).astype(np.float32), weights.astype(np.float32)


def aligned_stack(images: Images, poses: TiltPoses) -> Float[np.ndarray, "tilt y x"]:
    """Return all images [V Å] with psi and tau undone, on the measured grid, for display."""
    size = min(images.pixel_size)
    shape = (images.values.shape[1], images.values.shape[2])
    stack = [
        aligned_image(images, tilt, angles, shift, shape=shape, voxel_size=size, order=1)[0] * size
        for tilt, (angles, shift) in enumerate(zip(poses.euler_angles, poses.translations, strict=True))
    ]
    return np.stack(stack)
