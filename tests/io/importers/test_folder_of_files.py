"""Files in a folder, of one pattern or of some, are one tilt together."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from foreign_files import write_empad

from dptt.cli import main
from dptt.io.dataset import TiltSeries
from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.recognition import open_foreign, recognise
from dptt.io.importers.survey import survey

SCAN, DETECTOR = (3, 4), (6, 5)
COUNTS = np.random.default_rng(3).integers(0, 99, (2, 12, *DETECTOR), dtype=np.uint16)


def write_tifs(folder: Path, patterns: np.ndarray, a_file: int = 1) -> Path:
    """Write some patterns a file; the numbers in the names have no leading zeros."""
    folder.mkdir(parents=True)
    for first in range(0, len(patterns), a_file):
        some = patterns[first] if a_file == 1 else patterns[first : first + a_file]
        tifffile.imwrite(folder / f"frame_{first}.tif", some, photometric="minisblack")
    (folder / "log.txt").write_text("of the detector")
    return folder


@pytest.mark.parametrize("a_file", [1, 4])
def test_every_folder_that_a_pattern_names_is_a_tilt(tmp_path, a_file):
    for name, patterns in zip(("tilt_-10", "tilt_20"), COUNTS, strict=True):
        write_tifs(tmp_path / "raw" / name, patterns, a_file)
    config = tmp_path / "import.yaml"
    config.write_text(f"""
series: {tmp_path}/series.h5
run: {tmp_path}/run
import:
  data: "{tmp_path}/raw/tilt_*"
  tilt_angles: {{file_name: "tilt_{{angle}}"}}
  energy: 300e3
  semiangle_cutoff: 21
  detector: {{angular_sampling: 2}}
  scan: {{shape: [3, 4], step: 0.5}}
""")
    assert main(["import", str(config)]) == 0
    with TiltSeries.open(tmp_path / "series.h5") as series:
        tilts = sorted(series.tilts, key=lambda tilt: tilt.euler_angles[1])
        assert [tilt.euler_angles[1] for tilt in tilts] == [-10, 20]
        for tilt, patterns in zip(tilts, COUNTS, strict=True):
            np.testing.assert_array_equal(tilt.read(slice(None)), patterns)


def test_init_takes_folders_of_files_for_tilts(tmp_path):
    for name, patterns in zip(("tilt_-10", "tilt_20"), COUNTS, strict=True):
        write_tifs(tmp_path / name, patterns)
    found = survey(tmp_path)
    assert found.settings["import.data"] == [{"path": str(tmp_path / name)} for name in ("tilt_-10", "tilt_20")]
    assert found.settings["import.axes"] == ["position", "ky", "kx"]
    assert found.settings["import.tilt_angles"] == [-10, 20]


def test_files_of_single_patterns_are_positions_in_the_order_of_their_numbers(tmp_path):
    for number, pattern in enumerate(COUNTS[0]):
        np.save(tmp_path / f"{number}.npy", pattern)
    found = recognise(tmp_path)
    assert (found.kind, found.shape) == ("12 files of NumPy (.npy, .npz)", (12, *DETECTOR))
    assert found.axes == ("position", "ky", "kx")
    with open_foreign(tmp_path) as data:
        np.testing.assert_array_equal(data.array[9:11], COUNTS[0, 9:11])


def test_a_file_of_another_shape_is_named(tmp_path):
    folder = write_tifs(tmp_path / "tilt", COUNTS[0])
    tifffile.imwrite(folder / "frame_7.tif", COUNTS[0, 7, :, :-1])
    said = r"frame_7.tif: holds \(1, 6, 4\) of uint16; expected \(1, 6, 5\) of uint16, as the first file"
    with open_foreign(folder) as data, pytest.raises(ImportDescriptionError, match=said):
        data.array[:]


def test_a_folder_with_a_scan_in_every_file_is_no_tilt(tmp_path):
    for seed in (1, 2):
        write_empad(tmp_path, f"scan_{seed}", seed)
    with pytest.raises(ImportDescriptionError, match=r"folder of 2 files.* holds a scan .* Name the files.*/\*.raw"):
        recognise(tmp_path)


def test_a_dataset_is_refused_where_files_hold_one_array_without_a_name(tmp_path):
    folder = write_tifs(tmp_path / "tilt", COUNTS[0])
    np.save(tmp_path / "all.npy", COUNTS[0])
    for path in (folder, folder / "frame_0.tif", tmp_path / "all.npy"):
        with pytest.raises(
            ImportDescriptionError, match=r"holds one array \(.*, without a name; got .* 'entry/data'"
        ):
            recognise(path, "entry/data")
