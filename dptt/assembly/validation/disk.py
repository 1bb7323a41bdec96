"""The bright disk in a mean pattern, by correlation with an ellipse: shadows and diffraction do not move it.

A first search on the periodic detector finds the disk wherever its centre is, also at pixel (0, 0); then centre,
radius and the two components of the ellipticity are refined together.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

SMALLEST_SCORE = 0.5
"""Correlation coefficient of a disk that is worth the name."""
SCALES = np.geomspace(0.35, 2.8, 25)
"""Radii of the search, relative to the expected one."""
FINEST_RADIUS = 24
"""Pixels in the radius beyond which pixels are binned for the refinement."""
FIELD = 1.6
"""Half-width of the field of the refinement, in radii."""


@dataclass(frozen=True)
class Disk:
    """A bright disk.

    Parameters
    ----------
    centre
        Index (ky, kx).
    radius
        Geometric mean of both half axes [mrad].
    ellipticity
        (e1, e2): the longer half axis is about 1 + 2 hypot(e1, e2) times the shorter one.
    """

    centre: tuple[float, float]
    radius: float
    ellipticity: tuple[float, float]

    @property
    def axis_ratio(self) -> float:
        """Longer half axis divided by the shorter one."""
        e = float(np.hypot(*self.ellipticity))
        return (1 + e) / (1 - e)


def find_disk(
    mean: NDArray[np.float64], valid: NDArray[np.bool_], sampling: tuple[float, float], expected: float
) -> Disk | None:
    """Return the bright disk of a mean pattern, or None if it has none.

    Parameters
    ----------
    mean, valid
        Mean pattern (ky, kx), and which pixels count.
    sampling
        Angle between pixels (ky, kx) [mrad].
    expected
        Radius [mrad] about which the search goes.
    """
    values = mean[valid]
    if values.size < 4 or not np.ptp(values) > 0:
        return None
    clipped = np.minimum(mean, np.quantile(values, 0.995))
    image = np.where(valid, clipped - clipped[valid].mean(), 0.0)
    peak, radius, score = _search(image, sampling, expected)
    if score < SMALLEST_SCORE:
        return None
    middle = [n // 2 for n in mean.shape]
    roll = [m - p for m, p in zip(middle, peak, strict=True)]
    parameters = _refined(np.roll(image, roll, (0, 1)), np.roll(valid, roll, (0, 1)), sampling, radius)
    dy, dx, scale, e1, e2 = parameters
    centre = (float(peak[0] + dy * radius / sampling[0]), float(peak[1] + dx * radius / sampling[1]))
    return Disk(centre, float(radius * scale), (float(e1), float(e2)))


def _search(
    image: NDArray[np.float64], sampling: tuple[float, float], expected: float
) -> tuple[tuple[int, int], float, float]:
    """Return centre (index), radius [mrad] and correlation of the best disk on the periodic detector."""
    y, x = (np.fft.fftfreq(n, 1 / n) * angle for n, angle in zip(image.shape, sampling, strict=True))
    distance, edge = np.hypot(y[:, None], x[None, :]), max(sampling)
    spectrum, norm = np.fft.rfft2(image), np.linalg.norm(image)
    best = ((0, 0), expected, 0.0)
    for radius in expected * SCALES:
        template = _soft(radius - distance, edge)
        template -= template.mean()
        size = np.linalg.norm(template)
        if radius < edge or not size > 0:
            continue
        correlation = np.fft.irfft2(spectrum * np.fft.rfft2(template).conj(), image.shape) / (norm * size)
        if correlation.max() > best[2]:
            row, column = np.unravel_index(correlation.argmax(), image.shape)
            best = ((int(row), int(column)), float(radius), float(correlation.max()))
    return best


def _soft(inside: NDArray[np.float64], edge: float) -> NDArray[np.float64]:
    """Return the share of each pixel that lies inside, for its distance `inside` the edge [mrad]."""
    return np.clip(inside / edge + 0.5, 0, 1)


def _refined(
    image: NDArray[np.float64], valid: NDArray[np.bool_], sampling: tuple[float, float], radius: float
) -> NDArray[np.float64]:
    """Return shift (y, x) [radius], scale, e1 and e2 of the best ellipse near the middle of the image."""
    y, x = ((np.arange(n) - n // 2) * a / radius for n, a in zip(image.shape, sampling, strict=True))
    rows, columns = np.abs(y) <= FIELD, np.abs(x) <= FIELD
    size = max(1, round(radius / max(sampling) / FINEST_RADIUS))
    y, x = _binned(y[rows], size), _binned(x[columns], size)
    values = _binned(_binned(image[rows][:, columns], size).T, size).T
    weights = _binned(_binned(valid[rows][:, columns].astype(np.float64), size).T, size).T
    edge = size * max(sampling) / radius

    def misfit(parameters: NDArray[np.float64]) -> float:
        dy, dx, scale, e1, e2 = parameters
        v, u = (y - dy)[:, None], (x - dx)[None, :]
        distance = np.hypot((1 + e1) * v + e2 * u, e2 * v + (1 - e1) * u)
        return -_correlation(values, _soft(scale - distance, edge), weights)

    start = np.array([0.0, 0.0, 1.0, 0.0, 0.0])
    simplex = np.vstack([start, start + 0.08 * np.eye(5)])
    options = {"initial_simplex": simplex, "xatol": 1e-3, "fatol": 1e-7, "maxfev": 600}
    found = minimize(misfit, start, method="Nelder-Mead", options=options).x
    found[3:] /= max(1.0, float(np.hypot(*found[3:])) / 0.5)  # an ellipse, whatever the pattern
    found[2] /= np.sqrt(1 - found[3] ** 2 - found[4] ** 2)  # geometric mean of the half axes
    return found


def _binned(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return the means of `size` successive entries along the first axis; an incomplete group is dropped."""
    number = len(values) // size
    return values[: number * size].reshape(number, size, *values.shape[1:]).mean(1)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the weighted correlation coefficient of two images."""
    total = weights.sum()
    a, b = a - (weights * a).sum() / total, b - (weights * b).sum() / total
    return float((weights * a * b).sum() / np.sqrt((weights * a * a).sum() * (weights * b * b).sum() + 1e-300))
