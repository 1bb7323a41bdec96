"""First translations without a volume, for drifts of up to tens of pixels.

There are three methods. `first_poses` takes the first where it applies, and otherwise the better of the other two.

*Isolated specimen*: the centre of mass above a threshold, if the specimen lies in the measured area of every tilt.
The centre of mass cannot be misled by lattice planes.
*Mass*: all projections have the same profile along the tilt axis (the common line), so one-dimensional
cross-correlation gives the shift along it. Across the axis, the centre of mass of the rows that all tilts have in
common is put on the axis. This suits specimens whose width fits into the image. The direction of the tilt axis is the
one for which these profiles agree best.
*Neighbours*: cross-correlation of each image with its neighbour, stretched by the ratio of the cosines. Errors add
up along the series, but the specimen may be larger than the image.
"""

import numpy as np
import scipy.fft
import scipy.ndimage
from jaxtyping import Float

from dptt.solvers.alignment.preprocessing import well_measured
from dptt.solvers.ties import ROUNDING

PROFILE_ROUNDS = 5
"""Rounds of alignment of the profiles to their median."""
THRESHOLD = 0.1
"""As a fraction of the 99.9th percentile: [P] thresholds projections so that the particle's outline dominates them.
Residual background and fringes of the illuminated area, which are not part of the specimen, lie below it."""
LARGEST_CUT = 0.02
"""Fraction of the mass above the threshold that may lie on the border of the measured area."""


def shifts_along_axis(
    images: Float[np.ndarray, "tilt y x"],
) -> tuple[Float[np.ndarray, " tilt"], float]:
    """Return the displacement of every image along the axis [pixels], and the remaining misfit of the profiles."""
    profiles = images.sum(2)
    along = np.zeros(len(images))
    for _ in range(PROFILE_ROUNDS):
        reference = np.median(_unshifted(profiles, along), axis=0)
        along = np.array([_peak(_correlation(p[None], reference[None]))[1] for p in profiles])
    moved = _unshifted(profiles, along)
    return along, float(np.mean((moved - np.median(moved, axis=0)) ** 2) / np.mean(moved**2))


def centre_of_isolated_specimen(
    image: Float[np.ndarray, "y x"], weight: Float[np.ndarray, "y x"]
) -> Float[np.ndarray, "2"]:
    """Return the centre of mass (y, x) of an image as measured [pixels]; NaN if the specimen is not isolated."""
    inside = well_measured(weight)
    specimen = np.where(inside & (image > THRESHOLD * np.percentile(image, 99.9)), image, 0.0)
    interior = scipy.ndimage.binary_erosion(inside, iterations=2)  # the border of the image counts as outside
    mass = specimen.sum()
    if not mass > 0 or specimen[~interior].sum() > LARGEST_CUT * mass:
        return np.full(2, np.nan)
    y, x = (np.arange(n) for n in image.shape)
    return np.array([(specimen * y[:, None]).sum() / mass, (specimen * x).sum() / mass])


def shifts_from_mass(
    images: Float[np.ndarray, "tilt y x"], weights: Float[np.ndarray, "tilt y x"]
) -> Float[np.ndarray, "tilt 2"]:
    """Return the displacement (y, x) of every image [pixels], y along the tilt axis."""
    along, _ = shifts_along_axis(images)
    measured = _unshifted(weights.max(2), along)
    common = np.flatnonzero((measured > 0.99).all(axis=0))
    if not len(common):
        common = np.arange(images.shape[1])
    x = np.arange(images.shape[2]) - images.shape[2] // 2
    across = []
    for image, shift in zip(images, along, strict=True):
        rows = scipy.ndimage.shift(image, (-shift, 0), order=1)[common].sum(0)
        across.append((rows * x).sum() / max(rows.sum(), 1e-30))
    return np.column_stack([along, across])


def shifts_from_neighbours(
    images: Float[np.ndarray, "tilt y x"], thetas: Float[np.ndarray, " tilt"]
) -> Float[np.ndarray, "tilt 2"]:
    """Return the displacement (y, x) of every image [pixels] relative to the least tilted one."""
    order = np.argsort(thetas)
    middle = int(np.argmin(np.abs(thetas[order])))
    shifts = np.zeros((len(images), 2))
    for chain in (order[middle:], order[middle::-1]):
        for previous, tilt in zip(chain[:-1], chain[1:], strict=True):
            ratio = np.cos(np.deg2rad(thetas[tilt])) / np.cos(np.deg2rad(thetas[previous]))
            stretched = _stretched(images[previous], ratio, shifts[previous])
            shifts[tilt] = _peak(_correlation(images[tilt], stretched))
    return shifts


def _unshifted(profiles: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Return profiles (tilt, y) with their shifts [pixels] undone."""
    return np.array([scipy.ndimage.shift(p, -s, order=1) for p, s in zip(profiles, shifts, strict=True)])


def _stretched(image: np.ndarray, ratio: float, shift: np.ndarray) -> np.ndarray:
    """Return an image with its shift undone, stretched by `ratio` along x to the width at another tilt."""
    centre = np.array([n // 2 for n in image.shape])
    matrix = np.array([1.0, 1 / ratio])
    return scipy.ndimage.affine_transform(image, matrix, centre - matrix * centre + shift, order=1)


def _correlation(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the cross-correlation, zero shift at index n//2, of images padded against wrapping."""
    shape = [2 * n if n > 1 else 1 for n in image.shape]
    spectrum = (
        scipy.fft.fft2(image - image.mean(), shape) * scipy.fft.fft2(reference - reference.mean(), shape).conj()
    )
    return scipy.fft.fftshift(scipy.fft.ifft2(spectrum).real)


def _peak(correlation: np.ndarray) -> np.ndarray:
    """Return the displacement (y, x) of the highest point from n//2, to a fraction of a pixel by parabolas."""
    highest = np.argwhere(correlation >= correlation.max() - ROUNDING * np.abs(correlation).max())
    distances = np.linalg.norm(highest - np.array([n // 2 for n in correlation.shape]), axis=1)
    index = highest[distances.argmin()]  # of equal peaks, as of a lattice, the one of least displacement
    shift = index - [n // 2 for n in correlation.shape] + 0.0
    for axis, size in enumerate(correlation.shape):
        if 0 < index[axis] < size - 1:
            low, middle, high = (correlation[tuple(index + d * np.eye(2, dtype=int)[axis])] for d in (-1, 0, 1))
            shift[axis] += 0.5 * (low - high) / (low - 2 * middle + high)
    return shift
