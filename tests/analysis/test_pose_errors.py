import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dptt.analysis.plain import to_plain
from dptt.analysis.poses import TiltPoses, keep_unknown_depth, pose_errors, remove_common_motion


def tilt_series(num_tilts=13, seed=0):
    rng = np.random.default_rng(seed)
    angles = np.column_stack(
        [rng.normal(0, 1, num_tilts), np.linspace(-65, 60, num_tilts), rng.normal(0, 1, num_tilts)]
    )
    return TiltPoses(angles, rng.normal(0, 2, (num_tilts, 2)))


def project(points_zyx, poses):
    """(y, x) of each point at each tilt, with R = Rz Ry Rx on (x, y, z) written out."""
    seen = []
    for (phi, theta, psi), tau in zip(np.radians(poses.euler_angles), poses.translations, strict=True):
        cx, sx, cy, sy, cz, sz = np.cos(phi), np.sin(phi), np.cos(theta), np.sin(theta), np.cos(psi), np.sin(psi)
        rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        x, y, _ = rz @ ry @ rx @ points_zyx[:, ::-1].T
        seen.append(np.column_stack([y, x]) + tau)
    return np.array(seen)


def another_description(poses, turn, displacement_zyx):
    """The poses of the same tilt series for a specimen that was turned, then displaced."""
    rotations = poses.rotations() * turn.inv()
    displaced = rotations.apply(displacement_zyx[::-1])  # (x, y, z)
    return TiltPoses(rotations.as_euler("xyz", degrees=True), poses.translations - displaced[:, [1, 0]])


def test_equal_poses_have_no_error():
    errors = pose_errors(tilt_series(), tilt_series())
    assert errors.max_geodesic < 1e-6 and errors.max_translation < 1e-9
    assert np.allclose(errors.common_rotation, np.eye(3)) and np.allclose(errors.common_displacement, 0)


def test_turned_and_displaced_specimen_gives_the_same_projections_and_no_error():
    true = tilt_series()
    points = np.random.default_rng(1).normal(size=(20, 3))
    turn = Rotation.from_euler("xyz", [12.0, -7.0, 5.0], degrees=True)
    displacement = np.array([1.5, -2.0, 0.7])
    estimated = another_description(true, turn, displacement)
    moved_points = turn.apply(points[:, ::-1])[:, ::-1] + displacement
    assert np.allclose(project(points, true), project(moved_points, estimated))

    errors = pose_errors(estimated, true)
    assert errors.max_geodesic < 1e-6 and errors.max_translation < 1e-9
    assert np.abs(errors.euler).max() < 1e-6
    assert np.allclose(errors.common_rotation, turn.as_matrix())


def test_errors_that_are_no_gauge_remain():
    true = tilt_series(num_tilts=41)
    wrong = TiltPoses(true.euler_angles.copy(), true.translations.copy())
    wrong.euler_angles[7] += [0.0, 0.5, 0.0]
    wrong.translations[9] += [0.3, -0.4]
    estimated = another_description(wrong, Rotation.from_rotvec([0.1, 0.2, 0.3]), np.array([0.3, 0.2, 0.1]))
    errors = pose_errors(estimated, true)
    assert np.argmax(errors.geodesic) == 7 and errors.max_geodesic == pytest.approx(0.5, rel=0.05)
    assert errors.euler[7] == pytest.approx([0, 0.5, 0], abs=0.03)
    assert np.argmax(np.linalg.norm(errors.translation, axis=1)) == 9
    assert errors.translation[9] == pytest.approx([0.3, -0.4], abs=0.06)
    assert errors.median_geodesic < 0.02 and errors.median_translation < 0.03


def test_tilts_past_ninety_degrees_and_full_turns_are_compared_fairly():
    angles = np.array([[1.0, -170.0, 2.0], [0.0, 100.0, -1.0], [0.5, 89.0, 181.0], [0.0, 0.0, -179.5]])
    true = TiltPoses(angles, np.zeros((4, 2)))
    estimated = TiltPoses(angles + [[0.0, 0.0, 360.0]], np.zeros((4, 2)))
    errors = pose_errors(estimated, true)
    assert errors.max_geodesic < 1e-6 and np.abs(errors.euler).max() < 1e-5


def test_errors_can_be_written_as_json():
    plain = json.loads(json.dumps(to_plain(pose_errors(tilt_series(), tilt_series(seed=1)))))
    assert len(plain["geodesic"]) == 13
    assert json.dumps(to_plain({"a": np.float32("inf"), 79: (np.int64(3), np.array([1.0, np.nan]))})) == (
        '{"a": null, "79": [3, [1.0, null]]}'
    )


def test_series_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"estimated poses have euler_angles \(12, 3\).*expected \(13, 3\)"):
        pose_errors(tilt_series(12), tilt_series(13))


@pytest.mark.parametrize(("scatter", "known"), [(3.0, False), (0.05, True), (0.0, True)])
def test_the_depth_is_that_of_the_nominal_translations_if_these_tell_it(scatter, known):
    """A specimen 4 Å deep, its poses found about its middle; the nominal translations are wrong by `scatter` [Å]."""
    random = np.random.default_rng(5)
    angles = np.column_stack([np.zeros(9), np.linspace(-56, 56, 9), np.zeros(9)])
    found = TiltPoses(angles, np.zeros((9, 2)))
    to_yx = found.rotations().as_matrix()[:, [1, 0]]
    nominal = TiltPoses(angles, to_yx @ np.array([2.0, -1.0, 4.0]) + scatter * random.normal(size=(9, 2)))
    moved = keep_unknown_depth(found, nominal)
    assert pose_errors(moved, found).max_translation < 1e-9, "the same projections"
    displacement = np.linalg.lstsq(to_yx.reshape(-1, 3), moved.translations.ravel(), rcond=None)[0]
    assert displacement[2] == pytest.approx(4.0 if known else 0.0, abs=0.1 if known else 1e-9)
    free = to_yx[:, :, : 3 if known else 2].reshape(-1, 3 if known else 2)
    left = np.linalg.lstsq(free, (nominal.translations - moved.translations).ravel(), rcond=None)[0]
    np.testing.assert_allclose(left, 0, atol=1e-9)
    if known:
        np.testing.assert_allclose(moved.translations, remove_common_motion(found, nominal).translations)
