"""Three-dimensional views of a potential, by emission and absorption along parallel rays, in NumPy.

Along a ray, nearest sample first, with density t in [0, 1], transmittance T and step s:

    alpha = 1 - exp(-opacity t s),    image += T alpha colour,    T *= 1 - alpha

Colour shows depth (yellow near, blue far). A lamp behind the viewer's shoulder shades it, so that an atom looks like
a ball, and near atoms hide far ones.
"""

from dataclasses import dataclass

import matplotlib
import numpy as np
from numpy.typing import NDArray

from dptt.report.content import VoxelSize
from dptt.report.drawing import robust_limits

MAX_VOXELS = 128  # along an edge; larger volumes are averaged in blocks first
MIN_VOXELS = 72  # shorter edges are interpolated, band-limited, so that surfaces look smooth
MAX_FACTOR = 4  # of that interpolation
LEVELS = (0.15, 0.5)  # transparent and opaque potential, as fractions of the robust maximum
NOISE_FACTOR = 4.0  # everything below this many standard deviations of the noise is transparent
OPACITY = 6.0  # [1/Å] at full density: an atom is opaque
AMBIENT = 0.3
LAMP = np.array([-0.8, -0.45, -0.4]) / np.linalg.norm([-0.8, -0.45, -0.4])  # (depth, down, right) towards the lamp
BACKGROUND = 0.05
MARGIN = 1.15  # edge of the picture over that of its visible content


@dataclass(frozen=True)
class View:
    """A viewing direction.

    Attributes
    ----------
    axes : array (3, 3)
        Unit vectors (z, y, x) pointing away from the viewer, down, and right.
    """

    name: str
    axes: NDArray[np.float64]


def views() -> tuple[View, View, View]:
    """Return the views along the beam, along the tilt axis, and an oblique one."""
    z, y, x = np.eye(3)
    azimuth, elevation = np.radians([35.0, 25.0])
    right = np.cos(azimuth) * x + np.sin(azimuth) * y
    level = np.sin(azimuth) * x - np.cos(azimuth) * y  # away from the viewer, across the beam
    away = np.cos(elevation) * level + np.sin(elevation) * z
    down = np.cos(elevation) * z - np.sin(elevation) * level
    return (
        View("along the beam", np.array([z, y, x])),
        View("along the tilt axis", np.array([-y, z, x])),
        View("oblique, beam downwards", np.array([away, down, right])),
    )


def render(
    density: NDArray[np.floating], voxel_size: VoxelSize, view: View, edge: float, pixels: int = 200
) -> NDArray[np.float64]:
    """RGB image (down, right, 3) of a cube with this edge [Å] about the centre of a density from `prepare`."""
    return composite(sample_view(density, voxel_size, view, edge, pixels), edge / pixels)


def prepare(potential: NDArray[np.floating], voxel_size: VoxelSize) -> tuple[NDArray[np.float64], VoxelSize]:
    """Density in [0, 1] on a grid of suitable size, and its voxel size [Å]."""
    coarse: NDArray[np.floating] = np.asarray(potential)
    for axis, n in enumerate(potential.shape):
        if n > MAX_VOXELS:
            coarse = block_means(coarse, axis, -(-n // MAX_VOXELS))
        elif n < MIN_VOXELS:
            coarse = fourier_interpolate(coarse, axis, min(-(-MIN_VOXELS // n), MAX_FACTOR))
    z, y, x = (
        n // -(-n // MAX_VOXELS) * -(-n // MAX_VOXELS) * d / m
        for n, d, m in zip(potential.shape, voxel_size, coarse.shape, strict=True)
    )
    low, high = opacity_levels(coarse)
    return np.clip((coarse - low) / (high - low), 0.0, 1.0), (z, y, x)


def opacity_levels(potential: NDArray[np.floating]) -> tuple[float, float]:
    """Potentials [V] below which a volume is transparent and above which it is opaque."""
    top = max(robust_limits(potential)[1], 1e-30)
    middle = float(np.median(potential))
    deviations = potential - middle
    np.abs(deviations, out=deviations)
    noise = 1.4826 * float(np.median(deviations, overwrite_input=True))
    low = np.clip(middle + NOISE_FACTOR * noise, LEVELS[0] * top, 0.6 * top)
    return float(low), float(low + (LEVELS[1] - LEVELS[0]) * top)


def block_means(volume: NDArray[np.floating], axis: int, block: int) -> NDArray[np.floating]:
    """Volume with every ``block`` planes along an axis averaged; a remainder of less than a block is dropped."""
    first = np.moveaxis(volume, axis, 0)
    num = len(first) // block
    means = first[: num * block].reshape(num, block, *first.shape[1:]).mean(axis=1)
    return np.moveaxis(means, 0, axis)


def fourier_interpolate(volume: NDArray[np.floating], axis: int, factor: int) -> NDArray[np.floating]:
    """Volume ``factor`` times finer along an axis, band-limited, with the same outer edges."""
    n = volume.shape[axis]
    frequency = np.fft.fftfreq(n)
    position = (np.arange(n * factor) + 0.5) / factor - 0.5  # [old samples]: voxel edges, not centres, coincide
    matrix = np.exp(2j * np.pi * np.outer(position, frequency)) / n
    return np.moveaxis(np.tensordot(matrix, np.fft.fft(volume, axis=axis), axes=(1, axis)).real, 0, axis)


def visible_edge(density: NDArray[np.floating], voxel_size: VoxelSize) -> float:
    """Edge [Å] of a cube about the centre that contains all opaque voxels from any viewing direction."""
    voxels = np.argwhere(density > 0.5)
    if len(voxels) == 0:
        return float(np.max(np.multiply(density.shape, voxel_size)))
    from_centre = (voxels - (np.array(density.shape) - 1) / 2) * voxel_size
    return 2 * MARGIN * float(np.linalg.norm(from_centre, axis=1).max()) + max(voxel_size)


def sample_view(
    density: NDArray[np.floating], voxel_size: VoxelSize, view: View, edge: float, pixels: int
) -> NDArray[np.float32]:
    """Density (depth, down, right) on a cube about the centre of the box, trilinear, zero outside, nearest first."""
    padded = np.pad(density, 1).astype(np.float32)
    offset = (np.arange(pixels) - (pixels - 1) / 2) * edge / pixels
    step = view.axes / voxel_size  # [voxel/Å]
    centre = (np.array(density.shape) + 1) / 2
    plane = offset[:, None, None] * step[1] + offset[:, None] * step[2] + centre
    limit = np.array(padded.shape) - 1.001
    strides = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
    flat = padded.ravel()
    result = np.empty((pixels, pixels, pixels), dtype=np.float32)
    for d, depth in enumerate(offset):
        point = np.clip(plane + depth * step[0], 0, limit)
        low = point.astype(np.intp)
        z, y, x = np.moveaxis((point - low).astype(np.float32), -1, 0)
        base = low @ strides
        near, far = (
            [flat[base + dz + dy] + x * (flat[base + dz + dy + 1] - flat[base + dz + dy]) for dy in (0, strides[1])]
            for dz in (0, strides[0])
        )
        upper, lower = near[0] + y * (near[1] - near[0]), far[0] + y * (far[1] - far[0])
        result[d] = upper + z * (lower - upper)
    return result


def composite(samples: NDArray[np.floating], step: float) -> NDArray[np.float64]:
    """Image (down, right, 3) of a density (depth, down, right), nearest plane first, ``step`` [Å] apart."""
    num = len(samples)
    opaque = np.flatnonzero(samples.max(axis=(1, 2)) > 0.5)
    first, last = (opaque[0], opaque[-1]) if len(opaque) else (0, num - 1)
    nearness = np.clip((last - np.arange(num)) / max(last - first, 1), 0, 1)
    colours = matplotlib.colormaps["viridis"](0.2 + 0.8 * nearness)[:, :3]
    image = np.zeros((*samples.shape[1:], 3))
    transmitted = np.ones(samples.shape[1:])
    for d, plane in enumerate(samples):
        if not plane.any():
            continue
        depth_slope = (samples[min(d + 1, num - 1)] - samples[max(d - 1, 0)]) / 2
        slope = np.stack([depth_slope, *np.gradient(plane)], axis=-1)
        length = np.linalg.norm(slope, axis=-1)
        facing = np.maximum(-(slope @ LAMP), 0) / np.maximum(length, 1e-6)  # density falls towards the surface
        alpha = 1 - np.exp(-OPACITY * plane * step)
        shade = AMBIENT + (1 - AMBIENT) * np.where(length > 1e-4, facing, 1.0)
        image += (transmitted * alpha * shade)[..., None] * colours[d]
        transmitted *= 1 - alpha
    return np.clip(image + BACKGROUND * transmitted[..., None], 0, 1)
