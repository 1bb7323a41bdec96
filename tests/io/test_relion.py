"""RELION's tilt-series star files: there and back, and the projection that RELION makes of them."""

import numpy as np
import pytest

from dptt.io.imod import AlignmentFileError, PoseTable
from dptt.io.relion import read_relion, write_relion
from dptt.physics.rotation import rotation_matrix

RANDOM = np.random.default_rng(4)
POSES = PoseTable(
    np.column_stack([RANDOM.uniform(-2, 2, 7), np.linspace(-60, 60, 7), RANDOM.uniform(-9, 9, 7)]),
    RANDOM.uniform(-90, 90, (7, 2)),
)
NAMES = [f"tilt {i}.mrc" for i in range(7)]


def turned(axis: int, degrees: float) -> np.ndarray:
    """Return the 4 x 4 matrix of a right-handed turn about x, y or z, as RELION's Python programs write it."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.eye(4)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[[first, first, second, second], [first, second, first, second]] = c, -s, s, c
    return matrix


def moved(x: float, y: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:2, 3] = x, y
    return matrix


def test_what_is_written_is_read_back(tmp_path):
    found, names = read_relion(write_relion(tmp_path / "series.star", POSES, NAMES))
    np.testing.assert_allclose(found.euler_angles, POSES.euler_angles, atol=1e-6)
    np.testing.assert_allclose(found.translations, POSES.translations, atol=1e-6)
    assert names == NAMES


def test_relion_projects_points_where_our_pose_does(tmp_path):
    """S(shift) Rz(ZRot) Ry(YTilt) Rx(XTilt), from the columns as they stand in the file."""
    import torch

    lines = write_relion(tmp_path / "series.star", POSES, ["a"] * 7).read_text().splitlines()
    rows = [line.split() for line in lines if line.startswith("a ")]
    point = np.array([11.0, -23.0, 17.0, 1.0])
    for row, angles, tau in zip(rows, POSES.euler_angles, POSES.translations, strict=True):
        x_tilt, y_tilt, z_rot, x_shift, y_shift = map(float, row[1:])
        theirs = moved(x_shift, y_shift) @ turned(2, z_rot) @ turned(1, y_tilt) @ turned(0, x_tilt) @ point
        ours = rotation_matrix(torch.from_numpy(angles)).numpy() @ point[:3] + [tau[1], tau[0], 0]
        np.testing.assert_allclose(theirs[:3], ours, atol=1e-5)


def test_a_table_among_others_with_more_columns_is_found(tmp_path):
    path = tmp_path / "series.star"
    path.write_text(
        "# version 50001\n\ndata_global\n\n_rlnTomoName TS_1\n\ndata_TS_1\n\nloop_\n"
        "_rlnTomoZRot #1\n_rlnTomoYTilt #2\n_rlnCtfScalefactor #3\n_rlnTomoXTilt #4\n"
        "_rlnTomoXShiftAngst #5\n_rlnTomoYShiftAngst #6\n"
        "85.5 -29.8 0.9 0.5 20.0 -6.0\n85.6 0.2 1.0 0.5 21.0 -5.6\n\n"
    )
    found, names = read_relion(path)
    np.testing.assert_array_equal(found.euler_angles, [[0.5, -29.8, 85.5], [0.5, 0.2, 85.6]])
    np.testing.assert_array_equal(found.translations, [[-6.0, 20.0], [-5.6, 21.0]])
    assert names == ["0", "1"]


@pytest.mark.parametrize(
    "text,said",
    [
        ("data_\n\nloop_\n_rlnTomoXTilt #1\n0\n", "missing: rlnTomoYTilt"),
        ("nothing", "no table"),
    ],
)
def test_a_file_without_poses_is_refused_with_what_is_missing(tmp_path, text, said):
    path = tmp_path / "series.star"
    path.write_text(text)
    with pytest.raises(AlignmentFileError, match=said):
        read_relion(path)
