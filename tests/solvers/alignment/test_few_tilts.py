"""A small particle in few tilts, as ptychography shows it: sharp atoms, a background, a scan that cuts its own edge.

What is deeper than the particle leaves the place of the tilt axis open, and a background pulls the centre of mass.
"""

import numpy as np
import pytest
from blobs import atoms
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation
from solver_settings import alignment_settings

from dptt.analysis.poses import TiltPoses, pose_errors
from dptt.distributed.comm import SerialCommunicator
from dptt.solvers.alignment import align, flatten_background, whole_images
from dptt.solvers.alignment.preprocessing import well_measured

PIXEL, SIDE, RADIUS, ATOM = 0.6, 44, 5.0, 0.45  # Å, pixels, Å, Å
THETAS = np.arange(-56.0, 57.0, 14.0)


def series(
    seed: int, strain: float = 0.04, offset: float = 0.1, slow: float = 0.05
) -> tuple[np.ndarray, np.ndarray, TiltPoses]:
    """Return images, weights and true poses; scans are strained, and what is lit has an uneven background."""
    random = np.random.default_rng(seed)
    positions = atoms(45, RADIUS, seed)
    angles = np.column_stack([0 * THETAS, THETAS + 0.3 * random.normal(size=len(THETAS)), 0 * THETAS])
    true = TiltPoses(angles, random.uniform(-3, 3, (len(THETAS), 2)))
    axis = (np.arange(SIDE) - SIDE // 2) * PIXEL
    lit = 1 / (1 + np.exp((np.abs(axis) - 8.0) / 0.5))
    weights = np.outer(lit, lit)
    images = []
    for pose, tau in zip(angles, true.translations, strict=True):
        x, y, _ = Rotation.from_euler("xyz", pose, degrees=True).apply(positions).T
        scan = np.eye(2) + strain * random.normal(size=(2, 2))
        y, x = scan @ np.stack([y + tau[0], x + tau[1]])
        rows, columns = (np.exp(-((axis[:, None] - place) ** 2) / 2 / ATOM**2) for place in (y, x))
        image = rows @ columns.T
        uneven = gaussian_filter(random.normal(size=image.shape), 2.5 / PIXEL)
        background = offset * random.uniform(0.5, 1.5) + slow * uneven / uneven.std()
        images.append((image + background * image.max()) * np.minimum(1, 3 * weights))
    return np.array(images), np.broadcast_to(weights, (len(THETAS), SIDE, SIDE)).copy(), true


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.thorough)])
def test_few_tilts_of_a_particle_with_a_background_are_aligned(seed):
    values, weights, true = series(seed)
    flat, levels = flatten_background(values, weights)
    assert (levels > 0.04 * values.max((1, 2))).all(), "most of each image is beyond the scan, where it is zero"
    nominal = TiltPoses(np.column_stack([0 * THETAS, THETAS, 0 * THETAS]), np.zeros((len(THETAS), 2)))
    settings = alignment_settings(binnings=(1,), angles_from=0, depth=13.0, tilt_axis=False, final_iterations=1)
    result = align(whole_images(flat, weights, (PIXEL, PIXEL)), nominal, settings, SerialCommunicator())
    found = pose_errors(result.poses, true)
    assert np.sqrt(np.mean(found.translation**2)) < 0.125, (
        "0.14 in a volume as deep as wide, 0.16 with the background"
    )
    assert abs(found.common_displacement[0]) < 1.5, "the particle stays in the middle of the volume"
    assert result.volume.shape[0] == 23


def test_pixels_that_are_well_measured():
    weights = np.array([[0.0, 0.29, 0.3, 1.0]])
    np.testing.assert_array_equal(well_measured(weights), [[False, False, True, True]])
    assert well_measured(0.1 * weights).sum() == 1
