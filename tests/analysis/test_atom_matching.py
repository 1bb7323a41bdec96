import numpy as np
import pytest
from gaussian_particles import random_packing
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from dptt.analysis.atom_matching import match_atoms


def test_found_missed_and_false_atoms_are_told_apart():
    true = np.array([[0.0, 0, 0], [3.0, 0, 0], [0, 3.0, 0], [0, 0, 3.0]])
    found = np.array([[0, 0, 2.9], [0.1, 0, 0], [9.0, 9, 9], [0, 3.0, 0.2]])
    match = match_atoms(found, true, max_distance=0.5, true_numbers=np.array([6, 6, 79, 79]))
    assert match.pairs[np.argsort(match.pairs[:, 0])].tolist() == [[0, 3], [1, 0], [3, 2]]
    assert match.false_positive.tolist() == [2] and match.missed.tolist() == [1]
    assert match.recall == 0.75 and match.precision == 0.75
    assert match.rmsd == pytest.approx(np.sqrt((0.01 + 0.01 + 0.04) / 3))
    assert match.elements[6].recall == 0.5 and match.elements[6].rmsd == pytest.approx(0.1)
    assert match.elements[79].recall == 1.0 and match.elements[79].rmsd == pytest.approx(np.sqrt(0.025))


def test_no_atom_is_paired_twice_even_if_nearest_to_two():
    match = match_atoms(np.array([[0.0, 0, 0], [0.9, 0, 0]]), np.array([[-0.8, 0, 0], [0.1, 0, 0]]), max_distance=1.0)
    assert sorted(match.pairs.tolist()) == [[0, 0], [1, 1]]


def test_pairing_is_the_optimal_assignment_of_the_whole():
    rng = np.random.default_rng(0)
    true, found = rng.uniform(-4, 4, (60, 3)), rng.uniform(-4, 4, (55, 3))
    match = match_atoms(found, true, max_distance=1.5)
    squares = np.sum((found[:, None] - true) ** 2, axis=2)
    cost = np.where(squares <= 1.5**2, squares, 1e4)
    i, j = linear_sum_assignment(cost)
    allowed = cost[i, j] < 1e4
    assert len(match.pairs) == allowed.sum()
    assert match.rmsd == pytest.approx(np.sqrt(cost[i, j][allowed].mean()))


def test_alignment_undoes_a_rigid_motion_and_reports_it():
    rng = np.random.default_rng(1)
    true = random_packing(120, 11.0, 2.5, rng)
    rotation, translation = Rotation.from_rotvec([0.02, -0.03, 0.04]).as_matrix(), np.array([0.3, -0.2, 0.1])
    found = (true - translation) @ rotation  # rotation @ found + translation = true
    order = rng.permutation(len(true))
    unaligned = match_atoms(found[order], true, max_distance=1.2)
    moved = match_atoms(found[order], true, max_distance=1.2, align="translation")
    turned = match_atoms(found[order], true, max_distance=1.2, align="rigid")
    assert unaligned.rmsd > moved.rmsd > 0.1
    assert turned.rmsd < 1e-9 and turned.recall == 1
    assert np.allclose(turned.rotation, rotation) and np.allclose(turned.translation, translation)
    assert np.array_equal(order[turned.pairs[:, 0]], turned.pairs[:, 1])


def test_a_large_motion_is_undone_from_a_first_guess_of_it():
    rng = np.random.default_rng(5)
    true = random_packing(90, 10.0, 2.5, rng)
    rotation, translation = Rotation.from_rotvec([0.3, -0.2, 0.4]).as_matrix(), np.array([4.0, -3.0, 6.0])
    found = (true - translation) @ rotation
    guess = Rotation.from_rotvec([0.01, 0.0, 0.01]).as_matrix() @ rotation, translation + 0.1
    matched = match_atoms(found, true, max_distance=0.7, align="rigid", start=guess)
    assert matched.recall == 1 and matched.rmsd < 1e-9
    assert np.allclose(matched.rotation, rotation) and np.allclose(matched.translation, translation)


def test_nothing_found_is_no_error():
    match = match_atoms(np.zeros((0, 3)), np.ones((4, 3)), max_distance=1.0, align="rigid")
    assert match.recall == 0 and np.isnan(match.precision) and np.isnan(match.rmsd)
    assert match.missed.tolist() == [0, 1, 2, 3]


def test_positions_of_the_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"traced has shape \(5, 2\); expected \(num_atoms, 3\)"):
        match_atoms(np.zeros((5, 2)), np.zeros((5, 3)), max_distance=1.0)
