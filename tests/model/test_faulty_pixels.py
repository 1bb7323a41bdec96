"""Dead and hot pixels are told from what a specimen and an aperture do to a mean pattern."""

import numpy as np
import pytest

from dptt.model.faulty_pixels import faulty_pixels

SHAPE, MIDDLE = (25, 22), (12, 11)


def mean_pattern(radius: float, bright: float = 50.0, dark: float = 0.5) -> np.ndarray:
    """Return a disk with counting noise on a weak dark field that ends one pixel before the border."""
    y, x = np.ogrid[: SHAPE[0], : SHAPE[1]]
    pattern = np.where(np.hypot(y - MIDDLE[0], x - MIDDLE[1]) <= radius, bright, dark)
    pattern[[0, -1]] = pattern[:, [0, -1]] = 0
    return np.random.default_rng(1).poisson(256 * pattern) / 256


@pytest.mark.parametrize("radius", [0.4, 3.0, 7.5])
def test_a_good_detector_has_neither(radius):
    hot, dead = faulty_pixels(mean_pattern(radius), np.ones(SHAPE, bool), 256, radius)
    assert not hot.any() and not dead.any()


def test_hot_and_dead_pixels_are_found_in_bright_and_dark_field_and_beside_each_other():
    mean, known = mean_pattern(7.5), np.ones(SHAPE, bool)
    known[4, 4] = False
    mean[4, 4] = 900.0  # known already
    for pixel in ((12, 10), (3, 15)):
        mean[pixel] = 250.0
    for pixel in ((9, 12), (9, 13), (20, 5)):
        mean[pixel] = 0.0
    hot, dead = faulty_pixels(mean, known, 256, 7.5)
    assert sorted(map(tuple, np.argwhere(hot).tolist())) == [(3, 15), (12, 10)]
    assert sorted(map(tuple, np.argwhere(dead).tolist())) == [(9, 12), (9, 13), (20, 5)]


def test_a_beam_of_one_pixel_is_not_hot_and_dark_pixels_without_counts_are_not_dead():
    mean = np.zeros(SHAPE)
    mean[MIDDLE] = 1e4
    mean[11:14, 10:13] += 2000.0
    hot, _ = faulty_pixels(mean, np.ones(SHAPE, bool), 256, 0.3)
    assert not hot.any()
    few = np.random.default_rng(0).poisson(0.01 * 256, SHAPE) / 256
    assert (few == 0).any() and not faulty_pixels(few, np.ones(SHAPE, bool), 256, 7.5)[1].any()
