"""Descriptions that do not fit the foreign arrays are refused before a pattern is read."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import assert_refused, files_in

from dptt.cli import main


def foreign_config(folder: Path, **changes: str) -> Path:
    """Return the configuration of an import of one small array."""
    np.save(folder / "frames.npy", np.ones((2, 3, 4, 6, 5), np.uint8))
    np.save(folder / "volume.npy", np.ones((4, 5), np.float32))
    lines = {
        "series": f"{folder}/series.h5",
        "run": f"{folder}/run",
        "import": "",
        "  data": f"[{{path: {folder}/frames.npy}}]",
        "  axes": "[tilt, scan_y, scan_x, ky, kx]",
        "  tilt_angles": "[-30, 40]",
        "  energy": "300e3",
        "  semiangle_cutoff": "21.0",
        "  scan": "{step: 0.5}",
        "  detector": "{angular_sampling: 9.0}",
    } | {f"  {name}": value for name, value in changes.items()}
    (folder / "import.yaml").write_text("".join(f"{name}: {value}\n" for name, value in lines.items()))
    return folder / "import.yaml"


def test_a_sound_import_passes(dptt, tmp_path):
    assert dptt("import", foreign_config(tmp_path)).code == 0
    assert "series.h5" in files_in(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": "[{path: absent.npy}]"}, ["absent.npy", "no such file"]),
        ({"axes": "[tilt, scan_y, scan_y, ky, kx]"}, ["axes", "scan_y"]),
        ({"tilt_angles": "[1, 2, 3]"}, ["tilt_angles has 3 entries; expected 2"]),
        ({"tilt_angles": "[1, 2, 3]", "phi": "[0]", "psi": "[0, 0, 0]"}, ["3 problems", "phi has 1", "psi has 3"]),
        ({"aberrations": "{C13: 3}"}, ["C13"]),
        ({"aberrations": "{defocus: 30, C10: -30}"}, ["defocus", "C10"]),
        ({"truth": "{volume: {path: nowhere.npy}, voxel_size: 1}"}, ["nowhere.npy", "no such file"]),
        ({"truth": "{volume: {path: FOLDER/volume.npy}, voxel_size: 1}"}, ["volume.npy", "(4, 5)"]),
        ({"truth": "{volume: {path: FOLDER/volume.npy}, voxel_size: 1, volume_axes: [x, x, y]}"}, ["volume_axes"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_import_that_does_not_fit_its_arrays_is_refused(dptt, tmp_path, changes, words):
    changes = {name: value.replace("FOLDER", str(tmp_path)) for name, value in changes.items()}
    ended = dptt("import", foreign_config(tmp_path, **changes))
    assert_refused(ended, *words)
    assert "series.h5" not in files_in(tmp_path)


def test_an_imported_series_that_cannot_be_written_is_refused(dptt, tmp_path):
    (tmp_path / "plain").write_text("a file")
    config = foreign_config(tmp_path)
    ended = dptt("import", config, f"series={tmp_path / 'plain' / 'x' / 'series.h5'}")
    assert_refused(ended, "cannot be written")


def test_negative_counts_are_refused_unless_the_configuration_says_what_becomes_of_them(dptt, tmp_path):
    config = foreign_config(tmp_path)
    frames = np.ones((2, 3, 4, 6, 5), np.float32)
    frames[1, 2, 1, 3, 3] = -0.25
    np.save(tmp_path / "frames.npy", frames)
    ended = dptt("import", config)
    assert_refused(ended, "tilt 0001: 1 of the first 12 patterns", "the least is -0.25", "import.negative")
    assert not [name for name in files_in(tmp_path) if "series" in name], "nothing is left, not even a part"
    ended = dptt("import", config, "import.negative=clip", "import.scan.flyback=1")
    assert ended.code == 0, ended.stderr
    assert "warning: negative counts are set to zero" in ended.stderr
    assert dptt("import", config, "import.negative=kept").code == 2


def test_counts_that_are_not_finite_are_refused_with_number_and_place_unless_masked(dptt, tmp_path):
    config = foreign_config(tmp_path)
    frames = np.ones((2, 3, 4, 6, 5), np.float32)
    frames[0, 1, 3, 2, 4], frames[0, 2, 0, 2, 3], frames[1, ..., 3, 1] = np.nan, np.inf, np.nan
    np.save(tmp_path / "frames.npy", frames)
    refused = dptt("import", config)
    assert_refused(
        refused,
        "tilt 0000: 2 of 12 patterns have NaN or infinite counts (2 in all): patterns 7, 8; pixels (ky, kx)",
        "(2, 3), (2, 4); expected finite counts. Export the data again",
        "tilt 0001: 12 of 12 patterns have NaN or infinite counts (12 in all): patterns 0, 1, 2 and 9 more",
        "(3, 1); expected finite counts. The same pixels in all patterns: mask them with import.detector.mask",
    )
    assert not [name for name in files_in(tmp_path) if "series" in name], "nothing is left, not even a part"
    mask = np.ones((6, 5), bool)
    mask[2, 3:5] = mask[3, 1] = False
    np.save(tmp_path / "mask.npy", mask)
    detector = f"import.detector={{angular_sampling: 9.0, mask: {{path: {tmp_path}/mask.npy}}}}"
    ended = dptt("import", config, detector)
    assert ended.code == 0, ended.stderr


def test_flyback_of_listed_positions_is_refused(dptt, tmp_path):
    scan = f"{{positions: [{{path: {tmp_path}/frames.npy}}], flyback: 1}}"
    assert_refused(dptt("import", foreign_config(tmp_path, scan=scan)), "flyback is 1, but `positions` are listed")


def test_ranges_in_an_index_leave_out_what_is_beyond_them(tmp_path):
    config = foreign_config(tmp_path)
    frames = np.arange(2 * 3 * 4 * 6 * 5, dtype=np.uint16).reshape(2, 3, 4, 6, 5)
    np.save(tmp_path / "frames.npy", frames)
    data = f"import.data=[{{path: {tmp_path}/frames.npy, index: ['1:', ':', '0:-1', ' : 6 : 2 ']}}]"
    assert main(["import", str(config), data, "import.tilt_angles=[40]"]) == 0
    with h5py.File(tmp_path / "series.h5") as file:
        assert list(file["tilts"]) == ["0000"]
        np.testing.assert_array_equal(file["tilts/0000/data"][()].ravel(), frames[1, :, :-1, ::2].ravel())


@pytest.mark.parametrize(
    "entry", ["true", "1.5", "x", "'1:2:3:4'", "'a:b'", "[1]", "null", "''", "':' , '" + "9" * 99 + ":'"]
)
def test_an_index_that_is_no_number_or_range_is_refused(tmp_path, capsys, entry):
    data = f"import.data=[{{path: {tmp_path}/frames.npy, index: [{entry}]}}]"
    assert main(["import", str(foreign_config(tmp_path)), data]) == 2
    assert "expected a whole number, or a range such as `0:13`" in capsys.readouterr().err


@pytest.mark.parametrize("entry", ["'5:'", "'1:1'", "'0:2:0'", "7", "-1"])
def test_an_index_that_leaves_nothing_is_refused(tmp_path, capsys, entry):
    data = f"import.data=[{{path: {tmp_path}/frames.npy, index: [{entry}]}}]"
    assert main(["import", str(foreign_config(tmp_path)), data]) == 2
    said = capsys.readouterr().err
    assert "frames.npy" in said and "Traceback" not in said and not (tmp_path / "series.h5").exists()
