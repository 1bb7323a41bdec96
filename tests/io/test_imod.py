"""IMOD's files against a transcription of what newstack and tilt do with them, and there and back."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dptt.io.imod import AlignmentFileError, PoseTable, read_imod, write_imod

PIXEL = 1.7
RANDOM = np.random.default_rng(3)
POSES = PoseTable(
    np.column_stack([RANDOM.uniform(-2, 2, 9), np.linspace(-60, 60, 9), RANDOM.uniform(83, 97, 9)]),
    RANDOM.uniform(-90, 90, (9, 2)),
)


@pytest.mark.parametrize("shape", [(45, 62), (64, 51)])
def test_what_is_written_is_read_back(tmp_path, shape):
    tlt, xf, xtilt = write_imod(tmp_path / "series", POSES, PIXEL, shape)
    found = read_imod(tlt, xf, PIXEL, shape, xtilt)
    np.testing.assert_allclose(found.euler_angles, POSES.euler_angles, atol=1e-6)
    np.testing.assert_allclose(found.translations, POSES.translations, atol=1e-6)


@pytest.mark.parametrize("shape", [(45, 62), (64, 51)])
def test_a_point_of_the_specimen_is_found_where_newstack_and_tilt_would_look_for_it(tmp_path, shape):
    """Recorded at r' + n//2; newstack moves it by A (X - m) + D + m, m = (n-1)/2; tilt expects Ry Rx r + m there."""
    tlt, xf, xtilt = write_imod(tmp_path / "series", POSES, PIXEL, shape)
    point = np.array([11.0, -23.0, 17.0])  # x, y, z [Å]
    middle = np.array([(n - 1) / 2 for n in shape[::-1]])
    centre = np.array([n // 2 for n in shape[::-1]])
    lines = np.loadtxt(xf)
    for tilt, line in enumerate(lines):
        phi, theta, psi = POSES.euler_angles[tilt]
        recorded = Rotation.from_euler("xyz", [phi, theta, psi], degrees=True).apply(point)[:2]
        recorded = (recorded + POSES.translations[tilt, ::-1]) / PIXEL + centre
        aligned = line[:4].reshape(2, 2) @ (recorded - middle) + line[4:] + middle
        a, b = np.deg2rad(np.loadtxt(tlt)[tilt]), np.deg2rad(np.loadtxt(xtilt)[tilt])
        z = point[1] * np.sin(b) + point[2] * np.cos(b)
        expected = [point[0] * np.cos(a) + z * np.sin(a), point[1] * np.cos(b) - point[2] * np.sin(b)]
        np.testing.assert_allclose(aligned, np.array(expected) / PIXEL + middle, atol=1e-5)


def test_without_xtilt_the_specimen_turns_about_one_axis(tmp_path):
    tlt, xf, _ = write_imod(tmp_path / "series", POSES, PIXEL, (45, 62))
    assert np.all(read_imod(tlt, xf, PIXEL, (45, 62)).euler_angles[:, 0] == 0)


@pytest.mark.parametrize(
    "xf,said",
    [
        ("1 0 0 1 0 0\n", "has 1 lines"),
        ("1 0 0 1 0\n" * 9, "expected 6"),
        ("1 0 0 one 0 0\n" * 9, "line 1 is '1 0 0 one 0 0'; expected 6 finite numbers"),
        ("1.2 0 0 1.2 0 0\n" * 9, "differs from a rotation by"),
    ],
)
def test_files_that_do_not_fit_are_refused_with_the_reason(tmp_path, xf, said):
    tlt, path, _ = write_imod(tmp_path / "series", POSES, PIXEL, (45, 62))
    path.write_text(xf)
    with pytest.raises(AlignmentFileError, match=said):
        read_imod(tlt, path, PIXEL, (45, 62))
