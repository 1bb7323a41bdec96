"""Neighbours of atoms with error bars, against known crystals and repeated noise."""

import numpy as np
import pytest

from dptt.analysis.neighbours import neighbours, pair_distances

A = 4.08
BOND = A / np.sqrt(2)


def gold(cells: int = 4) -> np.ndarray:
    base = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    corners = np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    return A * (corners + base).reshape(-1, 3)


def test_an_atom_inside_a_face_centred_crystal_has_twelve_neighbours():
    positions = gold()
    found = neighbours(positions, np.full_like(positions, 0.01), 1.2 * BOND)
    inside = np.linalg.norm(positions - positions.mean(axis=0), axis=1) < 1.2 * A
    np.testing.assert_allclose(found.coordination[inside], 12)
    np.testing.assert_allclose(found.coordination_errors[inside], 0, atol=1e-9)
    np.testing.assert_allclose(found.distances, BOND)
    np.testing.assert_allclose(found.errors, 0.01 * np.sqrt(2))
    assert (found.pairs[:, 0] < found.pairs[:, 1]).all() and len(np.unique(found.pairs, axis=0)) == len(found.pairs)


def test_errors_of_distances_are_the_scatter_of_distances_of_noisy_atoms():
    generator = np.random.default_rng(2)
    positions = np.array([[0.0, 0.0, 0.0], [2.0, 1.0, 2.0]])
    errors = np.array([[0.03, 0.01, 0.02], [0.05, 0.02, 0.01]])
    noisy = positions + errors * generator.standard_normal((20000, 2, 3))
    scatter = np.linalg.norm(noisy[:, 1] - noisy[:, 0], axis=1).std()
    assert neighbours(positions, errors, 4.0).errors[0] == pytest.approx(scatter, rel=0.03)


def test_a_neighbour_at_the_cutoff_counts_half():
    positions, errors = np.array([[0, 0, 0], [0, 0, 3.0], [0, 2.0, 0]]), np.full((3, 3), 0.05)
    found = neighbours(positions, errors, 3.0)
    np.testing.assert_allclose(found.coordination, [1.5, 0.5, 1.0], atol=1e-6)
    np.testing.assert_allclose(found.coordination_errors, [0.5, 0.5, 0.0], atol=1e-6)


def test_the_pair_distances_integrate_to_the_number_of_neighbours():
    positions = gold(3)
    radii = np.linspace(2.2, 3.5, 1301)
    density = pair_distances(positions, np.full_like(positions, 0.03), radii)
    mean = neighbours(positions, np.full_like(positions, 0.03), 3.5).coordination.mean()
    assert np.trapezoid(density, radii) == pytest.approx(mean, rel=1e-4)
    assert radii[density.argmax()] == pytest.approx(BOND, abs=0.002)


def test_a_cutoff_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"cutoff is 0.0 Å; expected a positive length"):
        neighbours(np.zeros((1, 3)), np.zeros((1, 3)), 0.0)
    with pytest.raises(ValueError, match=r"errors \(2, 3\)"):
        neighbours(np.zeros((1, 3)), np.zeros((2, 3)), 1.0)
