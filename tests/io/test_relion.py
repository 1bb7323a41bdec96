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


COLUMNS = (
    "rlnMicrographName",
    "rlnTomoXTilt",
    "rlnTomoYTilt",
    "rlnTomoZRot",
    "rlnTomoXShiftAngst",
    "rlnTomoYShiftAngst",
)


def star(names, *, columns=COLUMNS, block="data_series", loop="loop_") -> list[str]:
    """Return the lines of a star file with the poses 1, 2, ... and -1, -2 ...: every column another multiple."""
    rows = [
        " ".join(name if c == "rlnMicrographName" else str((row + 1) * (COLUMNS.index(c) + 1)) for c in columns)
        for row, name in enumerate(names)
    ]
    return [block, "", loop, *(f"_{name} #{i}" for i, name in enumerate(columns, 1)), *rows]


def is_right(poses, count) -> bool:
    expected = np.outer(np.arange(1, count + 1), [2.0, 3.0, 4.0])
    shifts = np.outer(np.arange(1, count + 1), [6.0, 5.0])
    return np.array_equal(poses.euler_angles, expected) and np.array_equal(poses.translations, shifts)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("o'brien_1.mrc", "o'brien_1.mrc"),
        ('6"_1.mrc', '6"_1.mrc'),
        (r"D:\data\t1.mrc", r"D:\data\t1.mrc"),
        ("img#1.mrc", "img#1.mrc"),
        ('"my tilt 1.mrc"', "my tilt 1.mrc"),
        ("'my \"tilt\" # 1.mrc'", 'my "tilt" # 1.mrc'),
        ("größe.mrc", "größe.mrc"),
    ],
)
def test_a_name_is_read_as_star_files_quote_it(tmp_path, written, name):
    path = tmp_path / "series.star"
    path.write_text("\n".join(star([written, "b", "c"])), encoding="utf-8")
    poses, names = read_relion(path)
    assert names == [name, "b", "c"] and is_right(poses, 3)


@pytest.mark.parametrize(
    "name", ["a b", "_a", "data_1", "LOOP_", "#1", 'a "b" c', "o'brien", "'a'", '"', ";x", "größe", "a\\b"]
)
def test_every_name_is_read_back(tmp_path, name):
    names = [name, *NAMES[1:]]
    assert read_relion(write_relion(tmp_path / "series.star", POSES, names))[1] == names


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [*lines[:-1], "# a comment", "", lines[-1] + "  # refined twice"],
        lambda lines: ["data_general", "_rlnTomoName x", "_rlnTomoXTilt 3", *lines],
        lambda lines: [*lines, "_rlnStray 3"],
        lambda lines: [*lines, "data_other", "_rlnTomoName x", "loop_", "_rlnTomoXTilt", "3"],
        lambda lines: ["\ufeff# version 5", *lines],
        lambda lines: [line.replace(" ", "\t") for line in lines],
        lambda lines: [line + "\r" for line in lines],
        lambda lines: [line.replace("loop_", "LOOP_").replace("data_", "Data_") for line in lines],
    ],
    ids=["comments", "pairs before", "pair after", "block after", "mark", "tabs", "CRLF", "capitals"],
)
def test_a_table_is_read_whatever_is_around_it(tmp_path, change):
    path = tmp_path / "series.star"
    path.write_bytes("\n".join(change(star("abc"))).encode())
    poses, names = read_relion(path)
    assert names == ["a", "b", "c"] and is_right(poses, 3)


def test_columns_may_have_any_order(tmp_path):
    path = tmp_path / "series.star"
    path.write_text("\n".join(star("abc", columns=(*COLUMNS[3:], *COLUMNS[:3]))))
    poses, names = read_relion(path)
    assert names == ["a", "b", "c"] and is_right(poses, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [*lines, *star("abc", block="data_other")], r"2 tables \(data_series, data_other\)"),
        (lambda lines: [*lines[:-1], "c 1 2 3 4"], "line 12 has 5 values; expected 6"),
        (lambda lines: [*lines[:-1], "c 1 2 3 4 5 6"], "line 12 has 7 values; expected 6"),
        (lambda lines: [*lines[:-2], "c 1 2 3 4", "d 1 2 3 4 5 6"], "line 11 has 5 values.*\n.*line 12 has 7 values"),
        (lambda lines: [*lines[:-1], "c 1 nan 3 4 5"], "line 12 has the pose '1 nan 3 4 5'; expected five finite"),
        (lambda lines: [*lines[:-1], "c 1 1_0 3 4 5"], "line 12 has the pose"),
        (lambda lines: [*lines[:-1], "c 1 2 3 4 1e300"], "line 12 has the pose"),
        (lambda lines: [*lines[:4], "_rlnTomoXTilt #9", *lines[4:]], "has column rlnTomoXTilt twice"),
        (lambda lines: lines[:-3], "has no rows"),
        (lambda lines: [*lines[:-1], ";c", ";"], "line 12 begins a text block"),
    ],
)
def test_a_table_that_is_not_complete_or_not_the_only_one_is_refused(tmp_path, change, said):
    path = tmp_path / "series.star"
    path.write_text("\n".join(change(star("abc"))))
    with pytest.raises(AlignmentFileError, match=said):
        read_relion(path)


def test_other_encodings_are_refused_with_their_line(tmp_path):
    path = tmp_path / "series.star"
    path.write_bytes("\n".join(star(["a", "größe"])).encode("latin-1"))
    with pytest.raises(AlignmentFileError, match=r"line 11 is not UTF-8 text .* Save it as UTF-8"):
        read_relion(path)
