"""Stage angles are found in names and tables only where they can be nothing else."""

from pathlib import Path

import pytest

from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.description import ArraySource
from dptt.io.importers.tilt_tables import angles_in_names, angles_in_table, in_order


def paths(*names: str) -> list[Path]:
    return [Path(name) for name in names]


@pytest.mark.parametrize(
    ("names", "angles"),
    [
        (("s1_tilt-60.raw", "s1_tilt_0.5.raw", "s1_tilt60.raw"), [-60.0, 0.5, 60.0]),
        (("a_-40deg_2.mib", "a_10.5deg_3.mib"), [-40.0, 10.5]),
        (("grid2_-40.0.mib", "grid2_+10.mib"), [-40.0, 10.0]),
        (("s7_m30.5.npy", "s7_0.npy", "s7_p30.npy"), [-30.5, 0.0, 30.0]),
        (("tilt_01.raw", "tilt_02.raw", "tilt_03.raw"), None),  # counted
        (("scan_-40.raw", "scan_b.raw"), None),
        (("scan_12.raw", "scan_40.raw"), None),  # no sign, no word
        (("tilt_120.raw", "tilt_-120.raw"), None),
        (("tilt_10.raw", "tilt_10.dat"), None),
        (("s7_m30.5", "s7_p30.5", "s7_0.5"), [-30.5, 30.5, 0.5]),  # folders
    ],
)
def test_an_angle_in_a_name_has_a_word_a_unit_or_a_sign(names, angles):
    assert angles_in_names(paths(*names)) == angles


@pytest.mark.parametrize(
    "names",
    [
        ("tilt_-10.npy", "tilt_-2.5.npy", "tilt_0.npy", "tilt_+2.25.npy", "tilt_+10.npy"),
        ("s1_tilt-60.raw", "s1_tilt_0.5.raw", "s1_tilt60.raw"),
        ("s7_m30.5.npy", "s7_m4.npy", "s7_0.npy", "s7_p30.npy"),
        ("n01_tilt_0.raw", "n02_tilt_10.raw", "n03_tilt_-10.raw"),  # as they were recorded
        ("scan_2.raw", "scan_10.raw"),
        ("tilt_-10/a.npy", "tilt_0/a.npy", "tilt_+10/a.npy"),
    ],
)
def test_files_are_in_the_order_of_their_angles_unless_another_number_is_before(names):
    expected = paths(*names)
    assert in_order(sorted(expected)) == in_order(expected[::-1]) == expected


def test_files_are_in_the_order_of_the_angles_that_a_pattern_finds():
    expected = paths("d3_-12_n9.raw", "d3_-4_n8.raw", "d3_7_n1.raw")
    assert in_order(sorted(expected), "d3_{angle}_n*.raw") == expected
    assert in_order(paths("b.raw", "a.raw"), "d3_{angle}") == paths("a.raw", "b.raw")


def test_a_pattern_tells_which_number_is_the_angle():
    names = paths("d3_12_n1.raw", "d3_40_n2.raw")
    assert angles_in_names(names, "d3_{angle}_n*.raw") == [12.0, 40.0]
    with pytest.raises(ImportDescriptionError, match="d3_12_n1.raw: does not match tilt_angles.file_name"):
        angles_in_names(names, "d4_{angle}")


MDOC = """PixelSpacing = 1
[ZValue = 0]
TiltAngle = 3.0
SubFramePath = D:\\frames\\b.mrc

[ZValue = 1]
TiltAngle = -3.5
SubFramePath = D:\\frames\\a.mrc
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.mdoc", MDOC),
        ("s.csv", "file,angle\nb.raw,3.0\na.raw,-3.5\n"),
        ("s.txt", "b 3.0\na -3.5\n"),
        ("s.rawtlt", "-3.5\n3.0\n"),
    ],
)
def test_rows_with_names_are_matched_with_the_files_and_others_taken_in_order(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    table = ArraySource(str(tmp_path / name))
    assert angles_in_table(table, paths("a.raw", "b.raw")) == [-3.5, 3.0]


def test_a_table_that_does_not_name_a_file_or_is_none_is_refused(tmp_path):
    (tmp_path / "s.csv").write_text("file,angle\na.raw,-3.5\n")
    with pytest.raises(ImportDescriptionError, match="does not name b.raw"):
        angles_in_table(ArraySource(str(tmp_path / "s.csv")), paths("a.raw", "b.raw"))
    (tmp_path / "s.csv").write_text("file,angle\na.raw,x\n")
    with pytest.raises(
        ImportDescriptionError, match="line 2 is 'a.raw,x'; expected the name of a file and its angle"
    ):
        angles_in_table(ArraySource(str(tmp_path / "s.csv")), paths("a.raw"))


@pytest.mark.parametrize(
    ("name", "text", "useless"),
    [
        ("a.tlt", "1\n2\n", ("dataset",)),
        ("a.csv", "file,angle\na.raw,1\nb.raw,2\n", ("dataset", "index")),
        ("a.mdoc", "[ZValue = 0]\nTiltAngle = 1\n[ZValue = 1]\nTiltAngle = 2\n", ("dataset", "index")),
    ],
)
def test_what_has_no_effect_on_a_table_is_refused(tmp_path, name, text, useless):
    (tmp_path / name).write_text(text)
    files, path = paths("a.raw", "b.raw"), str(tmp_path / name)
    assert angles_in_table(ArraySource(path), files) == [1, 2]
    for setting in useless:
        source = ArraySource(path, **{setting: {"dataset": "angles", "index": (slice(1),)}[setting]})
        with pytest.raises(
            ImportDescriptionError, match=rf"read as a whole; got the {setting} .*Leave `{setting}` out"
        ):
            angles_in_table(source, files)
