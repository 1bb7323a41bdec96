"""Specimens that reach the border of the images are recognised, and weighed out where not all tilts see them."""

import numpy as np
import pytest
from blobs import THETAS, atoms, measured, projections, single_axis
from solver_settings import alignment_settings

from dptt.analysis.poses import TiltPoses
from dptt.distributed.comm import SerialCommunicator
from dptt.solvers.alignment import BORDER_INTENSITY, align, border_intensity, within_common_field


def film():
    """A film of atoms that is much wider than the images."""
    points = np.random.default_rng(4).uniform(-1, 1, (900, 3)) * np.array([40.0, 20.0, 3.0])
    return projections(points, single_axis())


def test_a_film_reaches_the_border_and_a_particle_does_not():
    assert border_intensity(measured(film()), SerialCommunicator()) > 5 * BORDER_INTENSITY
    assert (
        border_intensity(measured(projections(atoms(), single_axis())), SerialCommunicator()) < 0.5 * BORDER_INTENSITY
    )


@pytest.mark.parametrize("psi", [0.0, 90.0])
def test_weights_fall_to_zero_outside_the_common_field_of_view(psi):
    images = measured(film())
    weights = within_common_field(images, single_axis(psi=psi)).weights
    across = weights if psi == 0 else weights.transpose(0, 2, 1)  # (tilt, along the axis, across it)
    length, width = across.shape[1:]
    for image, theta in zip(across, THETAS, strict=True):
        profile = image[length // 2]
        distance = np.abs(np.arange(width) - width // 2)
        reach = np.cos(np.deg2rad(theta)) * distance.max()
        assert (profile[distance > reach] == 0).all()
        assert profile[width // 2] == 1
    assert (across[:, 0] == 0).all()


def test_poses_can_be_kept_as_they_are():
    poses = TiltPoses(single_axis().euler_angles + 0.3, np.random.default_rng(2).normal(size=(len(THETAS), 2)))
    settings = alignment_settings(binnings=(2,), search=False, angles_from=0, translation_iterations=0)
    result = align(measured(film()), poses, settings, SerialCommunicator())
    np.testing.assert_allclose(result.poses.euler_angles, poses.euler_angles, atol=1e-6)
    np.testing.assert_allclose(result.poses.translations, poses.translations, atol=1e-6)
    assert result.verdicts == ()
    assert result.volume.max() > 0
