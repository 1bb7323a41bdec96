"""Angles of the alignment are weighed against the stage's, kept only where they help, and come with errors."""

import numpy as np
import pytest
from blobs import atoms, disturbed, measured, projections, single_axis
from solver_settings import alignment_settings

from dptt.analysis.poses import TiltPoses, pose_errors
from dptt.distributed.comm import SerialCommunicator
from dptt.solvers.alignment import align
from dptt.solvers.alignment.pose_update import PoseEquations, pose_information
from dptt.solvers.alignment.poses import moved

ONE = SerialCommunicator()
QUICK = {"binnings": (2,), "final_binning": 2, "angles_from": 2, "translation_iterations": 3, "angle_iterations": 4}


def noisy(true, level=0.05):
    values = projections(atoms(), true)
    return measured(values + level * values.max() * np.random.default_rng(3).normal(size=values.shape))


def test_the_turns_of_the_euler_angles_are_those_of_the_rotation():
    """d(w, d)/d(phi, theta, psi) against a small change of each angle, taken by the step it names."""
    poses = TiltPoses(np.array([[0.0, 50.0, 0.0]]), np.zeros((1, 2)))
    one = PoseEquations(np.eye(7), np.zeros(7), 0.1, 1.0, 1.0)
    _, turns = pose_information(one, 1.0, poses.euler_angles[0])
    for axis in range(3):
        small = np.zeros(5)
        small[axis] = 1e-5
        changed = moved(poses, (turns @ small)[None])
        np.testing.assert_allclose(
            np.deg2rad(changed.euler_angles - poses.euler_angles)[0], small[:3], rtol=1e-3, atol=1e-9
        )


@pytest.mark.slow
def test_exact_stage_angles_are_left_alone_when_the_images_are_noisy():
    true = single_axis()
    result = align(noisy(true), true, alignment_settings(**QUICK, angle_uncertainty=(0.05, 0.3, 0.05)), ONE)
    assert [verdict.group for verdict in result.verdicts] == ["tilt axis", "phi", "theta", "psi"]
    assert not any(verdict.kept for verdict in result.verdicts)
    np.testing.assert_allclose(result.poses.euler_angles, true.euler_angles, atol=1e-6)


@pytest.mark.slow
def test_angles_wrong_by_two_degrees_are_kept_and_better():
    true = single_axis()
    nominal = disturbed(true, 0.0, 2.0, seed=5)
    result = align(measured(projections(atoms(), true)), nominal, alignment_settings(**QUICK), ONE)
    assert any(verdict.kept for verdict in result.verdicts)
    before, after = (pose_errors(poses, true).median_geodesic for poses in (nominal, result.poses))
    assert after < 0.5 * before


def test_errors_of_translations_are_those_that_remain():
    true = disturbed(single_axis(), 1.0, 0.0)
    nominal = TiltPoses(true.euler_angles, np.zeros_like(true.translations))
    result = align(noisy(true), nominal, alignment_settings(**QUICK | {"angles_from": 0}, tilt_axis=False), ONE)
    remaining = pose_errors(result.poses, true).translation
    scores = remaining / result.errors[:, 3:]
    assert 0.3 < np.sqrt(np.mean(scores**2)) < 2
    assert (result.errors[:, :3] == 0).all()


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_an_angle_without_uncertainty_stays_nominal(kept):
    nominal = disturbed(single_axis(), 0.0, 1.0, seed=5)
    widths = [3.0, 3.0, 3.0]
    widths[kept] = 0.0
    images = measured(projections(atoms(), single_axis()))
    settings = alignment_settings(**QUICK, angle_uncertainty=tuple(widths), tilt_axis=False, search=False)
    result = align(images, nominal, settings, ONE)
    assert ("phi", "theta", "psi")[kept] not in [verdict.group for verdict in result.verdicts]
