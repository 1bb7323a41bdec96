"""What all tilts see of a specimen that continues beyond the scan."""

import numpy as np
import pytest

from dptt.analysis.field_of_view import FieldOfView
from dptt.simulation.specimen import Specimen

SCAN = np.stack(np.meshgrid(np.arange(-4.0, 6.0), np.arange(-7.0, 8.0), indexing="ij"), -1).reshape(-1, 2)
"""y from -4 to 5 Å, x from -7 to 7 Å."""
POSES = [((0.0, 40.0, 0.0), (0.0, 0.0)), ((3.0, -52.0, -8.0), (1.5, -0.7)), ((0.0, 0.0, 0.0), (0.0, 0.3))]


def view(poses=POSES):
    return FieldOfView.of([angles for angles, _ in poses], [shift for _, shift in poses], [SCAN] * len(poses))


def test_a_tilt_sees_the_atoms_that_its_beam_scans():
    """The pose of the simulation, which moves atoms, decides where an atom lies under the beam."""
    points = np.random.default_rng(0).uniform(-12, 12, (400, 3))
    specimen = Specimen(points, np.full(400, 6), np.zeros(400))
    distances = view().distances(points)
    for number, (angles, shift) in enumerate(POSES):
        _, y, x = specimen.tilted(angles, shift).positions.T
        scanned = (y >= -4) & (y <= 5) & (x >= -7) & (x <= 7)
        assert 20 < scanned.sum() < 380
        np.testing.assert_array_equal(distances[number] >= 0, scanned)
        expected = np.minimum.reduce([y + 4, 5 - y, x + 7, 7 - x])
        np.testing.assert_allclose(distances[number], expected, atol=1e-9)


def test_what_all_tilts_see_is_a_diamond_in_depth():
    """Between tilts of ±45°, |x| + |z| <= 7 √2 Å, and a margin is kept across the beam."""
    both = view([((0.0, 45.0, 0.0), (0.0, 0.0)), ((0.0, -45.0, 0.0), (0.0, 0.0))])
    corner = 7 * np.sqrt(2)
    points = np.array([[0, 0, corner - 0.1], [0, 0, corner + 0.1], [-4, 0, corner - 4.1], [-4, 0, corner - 3.9]])
    assert both.holds(points).tolist() == [True, False, True, False]
    assert both.holds(points, margin=0.2).tolist() == [False] * 4
    assert both.holds(points, margin=-0.2).all()


def test_voxels_are_counted_and_masked_like_points():
    shape, size = (7, 30, 33), (2.0, 0.7, 0.9)
    counts, window = view().counts(shape, size), np.stack(list(view().window(shape, size, edge=2.0)))
    z, y, x = (2, 20, 10)
    point = np.array([[(z - 3) * 2.0, (y - 15) * 0.7, (x - 16) * 0.9]])
    distances = view().distances(point)[:, 0]
    assert counts[z, y, x] == (distances >= 0).sum()
    assert window[z, y, x] == pytest.approx(0.5 - 0.5 * np.cos(np.pi * np.clip(distances.min() / 2, 0, 1)))
    np.testing.assert_array_equal(window > 0, (counts == 3) & (window > 0))
    assert (window == 1).any() and set(np.unique(counts)) == {0, 1, 2, 3}
