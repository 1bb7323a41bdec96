"""A phase object of blobs, scanned by an aberrated probe: patterns from the definition, in NumPy, for any raster."""

import math
from collections.abc import Mapping

import numpy as np
import torch

from dptt.physics.probe import make_probe
from dptt.solvers.brightfield.data import BrightFieldData

WAVELENGTH, SEMIANGLE = 0.0197, 20.0  # Å, mrad
WINDOW, PIXEL = 40, 0.4  # pixels of the wave, Å: 1.23 mrad per pixel, 24.6 mrad at the edge


def phase(points: np.ndarray, seed: int, reach: float, strength: float = 0.15) -> np.ndarray:
    """Return the phase [rad] at points (..., 2) [Å] of Gaussian blobs scattered within ±`reach`."""
    random = np.random.default_rng(seed)
    centres = random.uniform(-reach, reach, (round(reach**2 / 6), 2))
    total = np.zeros(points.shape[:-1])
    for centre in centres:
        total += strength * np.exp(-(((points - centre) / 0.6) ** 2).sum(-1))
    return total


def scanned(
    matrix: np.ndarray,
    aberrations: Mapping[str, float],
    shape: tuple[int, int],
    step: tuple[float, float],
    sign: float = 1.0,
    electrons: float | None = None,
    seed: int = 3,
    slope: float = 0.0,
) -> BrightFieldData:
    """Return the data of a scan p = M (i step_y, j step_x) over the object, `sign` times its phase.

    `slope` is d defocus / dx of a tilted flat object; `electrons` per pattern add shot noise.
    """
    i, j = ((np.arange(n) - (n - 1) / 2) * d for n, d in zip(shape, step, strict=True))
    raster = np.stack(np.meshgrid(i, j, indexing="ij"), -1)
    positions = raster @ matrix.T
    grid = np.stack(np.meshgrid(*[(np.arange(WINDOW) - WINDOW // 2) * PIXEL] * 2, indexing="ij"), -1)
    reach = float(np.abs(positions).max()) + 2
    patterns = np.empty((*shape, WINDOW, WINDOW))
    probe = _probe(aberrations)
    for index in np.ndindex(*shape):
        if slope:
            local = dict(aberrations) | {"C10": aberrations["C10"] - slope * positions[index][1]}
            probe = _probe(local)
        transmitted = np.exp(1j * sign * phase(grid + positions[index], seed, reach))
        patterns[index] = np.abs(np.fft.fftshift(np.fft.fft2(probe * transmitted))) ** 2
    patterns /= patterns.sum((-2, -1)).mean()
    if electrons is not None:
        patterns = np.random.default_rng(seed + 1).poisson(patterns * electrons) / electrons
    return bright_field(patterns, step)


def _probe(aberrations: Mapping[str, float]) -> np.ndarray:
    optics = {"wavelength": WAVELENGTH, "semiangle": SEMIANGLE, "aberrations": aberrations}
    return make_probe((WINDOW, WINDOW), (PIXEL, PIXEL), **optics).numpy()


def bright_field(patterns: np.ndarray, step: tuple[float, float], side: int = 3) -> BrightFieldData:
    """Return virtual images of groups of `side` x `side` pixels, and the centre of mass."""
    sampling = 1e3 * WAVELENGTH / (WINDOW * PIXEL)
    axis = (np.arange(WINDOW) - WINDOW // 2) * sampling
    y, x = np.meshgrid(axis, axis, indexing="ij")
    inside = np.hypot(y, x) < SEMIANGLE - 0.5 * sampling
    number = np.round(y / sampling / side) * 1000 + np.round(x / sampling / side)
    images, angles, counts = [], [], []
    for one in np.unique(number[inside]):
        members = inside & (number == one)
        if members.sum() >= side * side / 2:
            images.append(patterns[..., members].mean(-1))
            angles.append((y[members].mean(), x[members].mean()))
            counts.append(patterns[..., members].mean((0, 1)).sum())
    moments = np.stack([(patterns * y).sum((-2, -1)), (patterns * x).sum((-2, -1))]) / patterns.sum((-2, -1))
    return BrightFieldData(
        images=torch.tensor(np.array(images)),
        angles=torch.tensor(np.array(angles)),
        counts=torch.tensor(np.array(counts)),
        step=step,
        wavelength=WAVELENGTH,
        semiangle=SEMIANGLE,
        pixel_angle=side * sampling * 1e-3,
        centre_of_mass=torch.tensor(moments),
    )


def turn(angle: float, transposed: bool = False) -> np.ndarray:
    """Return R(angle) on (y, x), or T R(angle), independently of the code under test."""
    a = math.radians(angle)
    rotation = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    return rotation[::-1] if transposed else rotation
