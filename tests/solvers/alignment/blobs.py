"""A particle of Gaussian atoms whose projections are known in closed form, at any pose."""

import numpy as np
from scipy.spatial.transform import Rotation

from dptt.solvers.alignment import Images, TiltPoses, whole_images

PIXEL = 0.5
WIDTH = 0.7  # standard deviation of an atom [Å]
THETAS = np.linspace(-64, 64, 17)


def atoms(count: int = 40, radius: float = 6.0, seed: int = 0) -> np.ndarray:
    """Return positions (atoms, 3) as (x, y, z) [Å] inside a ball."""
    points = np.random.default_rng(seed).uniform(-radius, radius, (8 * count, 3))
    return points[np.linalg.norm(points, axis=1) < radius][:count]


def projections(positions: np.ndarray, poses: TiltPoses, shape=(43, 46), strength: float = 30.0) -> np.ndarray:
    """Return images (tilt, y, x) [V Å]; an atom integrates to `strength` V Å³. Written without dptt."""
    images = []
    for angles, tau in zip(poses.euler_angles, poses.translations, strict=True):
        x, y, _ = Rotation.from_euler("xyz", angles, degrees=True).apply(positions).T
        columns = (np.arange(shape[1]) - shape[1] // 2) * PIXEL - (x[:, None] + tau[1])
        rows = (np.arange(shape[0]) - shape[0] // 2) * PIXEL - (y[:, None] + tau[0])
        images.append(np.exp(-(rows**2) / 2 / WIDTH**2).T @ np.exp(-(columns**2) / 2 / WIDTH**2))
    return strength / (2 * np.pi * WIDTH**2) * np.array(images)


def single_axis(psi: float = 0.0) -> TiltPoses:
    angles = np.column_stack([0 * THETAS, THETAS, 0 * THETAS + psi])
    return TiltPoses(angles, np.zeros((len(THETAS), 2)))


def disturbed(poses: TiltPoses, shift: float, turn: float, seed: int = 1) -> TiltPoses:
    """Return poses with random translations up to `shift` [Å] and angles up to `turn` [degrees] away."""
    random = np.random.default_rng(seed)
    angles = poses.euler_angles + random.uniform(-turn, turn, poses.euler_angles.shape)
    return TiltPoses(angles, poses.translations + random.uniform(-shift, shift, poses.translations.shape))


def measured(values: np.ndarray) -> Images:
    return whole_images(values, np.ones_like(values), (PIXEL, PIXEL))
