"""Poses: what moves together is not seen, and is removed."""

import numpy as np
import pytest
from blobs import THETAS, atoms, disturbed, single_axis

from dptt.analysis.poses import TiltPoses, remove_common_motion
from dptt.solvers.alignment.acceleration import Acceleration
from dptt.solvers.alignment.poses import keep_angle_scale, moved


def recorded(poses: TiltPoses, positions: np.ndarray) -> np.ndarray:
    """Return where (x, y, z) positions are seen, (tilt, atom, 2) as (x, y) [Å]."""
    turned = np.einsum("nij,aj->nai", poses.rotations().as_matrix(), positions)[..., :2]
    return turned + poses.translations[:, None, ::-1]


def test_removing_the_common_motion_leaves_all_distances_between_tilts():
    """One rotation and displacement of the atoms makes up for the change of all poses."""
    nominal = single_axis()
    poses = disturbed(nominal, 3.0, 2.0)
    kept, positions = remove_common_motion(poses, nominal), atoms()
    turn = (poses.rotations().inv() * kept.rotations()).as_matrix()
    np.testing.assert_allclose(turn, np.broadcast_to(turn[0], turn.shape), atol=1e-12)
    move = recorded(kept, positions @ turn[0]) - recorded(poses, positions)
    np.testing.assert_allclose(move, np.broadcast_to(move[:, :1], move.shape), atol=1e-12)


def test_a_turned_tilt_axis_shows_as_one_psi():
    turned = single_axis(psi=2.5)
    kept = remove_common_motion(turned, single_axis())
    np.testing.assert_allclose(kept.euler_angles, turned.euler_angles, atol=0.03)


def test_a_displaced_specimen_is_put_back():
    poses, displacement = single_axis(), np.array([1.0, -2.0, 0.7])
    shift = np.einsum("nij,j->ni", poses.rotations().as_matrix(), displacement)[:, [1, 0]]
    kept = remove_common_motion(TiltPoses(poses.euler_angles, shift), poses)
    np.testing.assert_allclose(kept.translations, 0, atol=1e-12)


@pytest.mark.parametrize("psi", [0.0, 90.0, -47.0])
def test_a_step_is_taken_in_the_frame_of_the_tilt_axis(psi):
    """A step along y moves along the tilt axis, whatever psi."""
    poses, positions = single_axis(psi), atoms()
    steps = np.zeros((len(THETAS), 5))
    steps[:, 3] = 1.0
    move = recorded(moved(poses, steps), positions) - recorded(poses, positions)
    axis = np.array([-np.sin(np.deg2rad(psi)), np.cos(np.deg2rad(psi))])
    np.testing.assert_allclose(move, np.broadcast_to(axis, move.shape), atol=1e-12)


def test_the_scale_of_the_stage_is_kept_and_single_angles_are_not():
    nominal = single_axis()
    angles = nominal.euler_angles.copy()
    angles[:, 1] *= 1.03
    angles[5, 1] += 1.0
    kept = keep_angle_scale(TiltPoses(angles, nominal.translations), nominal).euler_angles - nominal.euler_angles
    assert kept[5, 1] == pytest.approx(1.0, abs=0.2)
    assert abs(np.polyfit(THETAS, kept[:, 1], 1)[0]) < 1e-12


def test_acceleration_shortens_a_slow_linear_iteration():
    """x <- x + A (target - x) with eigenvalues from 0.02 to 1: plain steps would take some 500 iterations."""
    rates, target = np.linspace(0.02, 1.0, 5)[None], np.ones((1, 5))
    place, accelerate = np.zeros((1, 5)), Acceleration()
    for _ in range(12):
        place = place + accelerate(rates * (target - place))
    np.testing.assert_allclose(place, target, atol=1e-3)
