"""An isolated specimen is placed by its centre of mass, whatever lattice it has and whatever lies outside it."""

import numpy as np
import pytest

from dptt.solvers.alignment.starts import centre_of_isolated_specimen

SHAPE = (61, 74)


def crystal(y: float, x: float) -> np.ndarray:
    """Return a lattice of blobs within a square about (y, x): a move by one period looks almost the same."""
    image = np.zeros(SHAPE)
    rows, columns = np.indices(SHAPE)
    for i in range(-2, 3):
        for j in range(-2, 3):
            image += np.exp(-((rows - y - 5 * i) ** 2 + (columns - x - 5 * j) ** 2) / 4)
    return image


@pytest.mark.parametrize("background", [0.0, 0.03])
def test_the_centre_of_mass_is_found_over_a_faint_uneven_background(background):
    places = np.array([[30.0, 36.0], [33.3, 29.6], [27.25, 41.5]])
    ramp = background * np.linspace(0, 1, SHAPE[1])
    images = np.stack([crystal(*place) + ramp for place in places])
    weights = np.zeros_like(images)
    weights[:, 8:-8, 8:-8] = 1.0
    found = [centre_of_isolated_specimen(*pair) for pair in zip(images, weights, strict=True)]
    np.testing.assert_allclose(found, places, atol=0.2)  # of a period of 5


def test_a_specimen_that_the_border_cuts_is_not_isolated():
    weights = np.zeros(SHAPE)
    weights[8:-8, 8:-8] = 1.0
    assert np.isnan(centre_of_isolated_specimen(crystal(30, 60), weights)).all()
    assert np.isfinite(centre_of_isolated_specimen(crystal(30, 36), weights)).all()


def test_an_empty_image_has_no_specimen():
    assert np.isnan(centre_of_isolated_specimen(np.zeros(SHAPE), np.ones(SHAPE))).all()
