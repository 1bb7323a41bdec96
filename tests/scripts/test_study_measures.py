"""What the paper study measures: pairs along the beam, valleys between them, elements of traced atoms."""

import numpy as np
import pytest
from paper_study.measures import SEPARATED, classify, column_pairs, element_scores, pairs_by_elements, valley_to_peak

VOXEL = (0.4, 0.5, 0.3)
SHAPE = (41, 25, 31)
"""Voxels (z, y, x), none of them square."""


def gaussians(positions, heights, widths):
    """Return the sum of Gaussians of `widths` (z, y, x) [Å]."""
    z, y, x = np.meshgrid(*((np.arange(n) - n // 2) * d for n, d in zip(SHAPE, VOXEL, strict=True)), indexing="ij")
    volume = np.zeros(SHAPE)
    for (cz, cy, cx), height in zip(positions, heights, strict=True):
        arguments = ((z - cz) / widths[0]) ** 2 + ((y - cy) / widths[1]) ** 2 + ((x - cx) / widths[2]) ** 2
        volume += height * np.exp(-0.5 * arguments)
    return volume


def test_pairs_are_successive_atoms_of_a_column_in_order():
    column = [[2.0, 0.1, 0.0], [-2.0, 0.0, 0.0], [0.0, 0.0, 0.1], [7.0, 0.0, 0.0]]
    beside = [[1.0, 3.0, 0.0], [3.0, 3.5, 0.0]]
    pairs = column_pairs(np.array(column + beside), longest=4.0)
    assert sorted(map(tuple, pairs.tolist())) == [(1, 2), (2, 0)]


def test_pairs_are_sorted_by_their_elements_heavier_first():
    numbers = np.array([8, 78, 8, 13])
    found = pairs_by_elements(np.array([[0, 1], [1, 2], [2, 3]]), numbers)
    assert {kind: pairs.tolist() for kind, pairs in found.items()} == {(78, 8): [[0, 1], [1, 2]], (13, 8): [[2, 3]]}
    assert list(found)[0] == (78, 8)


@pytest.mark.parametrize(("width", "expected"), [(0.5, 0.271), (0.8, 0.875)])
def test_the_valley_between_two_atoms_is_that_of_their_gaussians(width, expected):
    positions = np.array([[-1.0, 0.7, -0.4], [1.0, 0.7, -0.4]])
    volume = gaussians(positions, (1.0, 1.0), (width, 0.4, 0.4))
    at = [2 * np.exp(-0.5 / width**2), 1 + np.exp(-0.5 * (2 / width) ** 2)]
    assert expected == pytest.approx(at[0] / at[1], abs=0.05)  # the peaks lean towards each other: a little less deep
    ratio = valley_to_peak(volume, VOXEL, positions, np.array([[0, 1]]))
    assert ratio[0] == pytest.approx(expected, abs=0.05)


def test_the_lower_of_two_unequal_peaks_counts_and_a_streak_has_no_valley():
    positions = np.array([[-2.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    unequal = gaussians(positions, (5.0, 1.0), (0.9, 0.4, 0.4))
    valley = unequal[:, SHAPE[1] // 2, SHAPE[2] // 2][SHAPE[0] // 2 :].min()
    assert 0 < valley_to_peak(unequal, VOXEL, positions, np.array([[0, 1]]))[0] < 6 * np.exp(-0.5 * (2 / 0.9) ** 2)
    assert valley < 1
    streak = gaussians(positions, (1.0, 1.0), (9.0, 0.4, 0.4))
    assert valley_to_peak(streak, VOXEL, positions, np.array([[0, 1]]))[0] > 0.97
    assert valley_to_peak(np.zeros(SHAPE), VOXEL, positions, np.array([[0, 1]]))[0] == 1.0


def test_a_streak_that_weaves_about_the_line_joins_the_atoms():
    positions = np.array([[-2.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    depths = np.arange(-4.0, 4.1, 0.2)
    weaving = np.stack([depths, np.zeros(41), 0.5 * np.cos(np.pi * depths / 4) ** 2], axis=1)  # 0.5 Å aside half way
    streak = gaussians(weaving, np.ones(41), (0.4, 0.4, 0.4))
    middle = streak[:, SHAPE[1] // 2, SHAPE[2] // 2][SHAPE[0] // 2]
    end = streak[:, SHAPE[1] // 2, SHAPE[2] // 2][SHAPE[0] // 2 + 5]
    assert middle < 0.6 * end, "on the line itself there is a valley"
    assert valley_to_peak(streak, VOXEL, positions, np.array([[0, 1]]))[0] > SEPARATED


def test_elements_are_told_apart_by_their_integrated_potential_and_failed_fits_are_light():
    generator = np.random.default_rng(3)
    true = np.repeat([8, 13, 78], [60, 30, 10])
    integrated = np.repeat([30.0, 90.0, 330.0], [60, 30, 10]) * np.exp(0.1 * generator.normal(size=100))
    np.testing.assert_array_equal(classify(integrated, np.array([78, 8, 13])), true)
    integrated[-1] = np.nan
    assert classify(integrated, np.array([8, 13, 78]))[-1] == 8


def test_scores_by_element_count_what_was_found_where_and_what_it_was_taken_for():
    true = np.array([[0.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 6.0, 0.0], [0.0, 9.0, 0.0]])
    numbers = np.array([78, 78, 8, 8])
    atoms = {
        "positions": (true[:3] + [0.3, 0.0, 0.4]).tolist() + [[5.0, 5.0, 5.0]],
        "true_positions": true.tolist(),
        "integrated_potential": [300.0, 330.0, 20.0, 310.0],  # the last is a false atom that looks like Pt
        "match": {"pairs": [[0, 0], [1, 1], [2, 2]]},
    }
    scores = element_scores(atoms, numbers)
    assert (scores[78].count, scores[78].recall, scores[78].precision) == (2, 1.0, pytest.approx(2 / 3))
    assert (scores[8].recall, scores[8].precision) == (0.5, 1.0)
    assert scores[78].rmsd == pytest.approx(0.5)
    np.testing.assert_allclose(scores[8].rmsd_axes, [0.3, 0.0, 0.4])
