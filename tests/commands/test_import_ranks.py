"""An import on several ranks: each reads its share of the tilts, and the file is that of one."""

import numpy as np
import pytest
from command_line import run_ranks, series_content

from dptt.cli import main

SHAPE = (3, 4, 6, 8)
TILTS = 5


@pytest.fixture
def config(tmp_path):
    """Return a configuration of five files, with a dark reference, a mask and negative counts that are clipped."""
    random = np.random.default_rng(6)
    for tilt in range(TILTS):
        np.save(tmp_path / f"scan_{tilt}.npy", random.poisson(2.0, SHAPE).astype(np.float32))
    np.save(tmp_path / "dark.npy", np.full(SHAPE[2:], 0.5))
    (tmp_path / "import.yaml").write_text(
        f"series: {tmp_path}/series.h5\nrun: {tmp_path}/run\nimport:\n  data: '{tmp_path}/scan_*.npy'\n"
        "  energy: 300e3\n  semiangle_cutoff: 21\n  tilt_angles: [-20, -10, 0, 10, 20]\n  scan: {step: 1}\n"
        f"  detector: {{angular_sampling: [2, 1.5], binning: 2, dark: {tmp_path}/dark.npy}}\n  negative: clip\n"
    )
    return tmp_path / "import.yaml"


def warnings_of(text):
    return [line for line in text.splitlines() if "negative counts" in line]


def test_any_number_of_ranks_writes_the_file_of_one_and_says_the_same(config, tmp_path, capsys):
    assert main(["import", str(config)]) == 0
    alone, said = series_content(tmp_path / "series.h5"), warnings_of(capsys.readouterr().err)
    assert len([name for name in alone if name.endswith("/data")]) == TILTS and len(said) == 1
    for size in (2, TILTS + 1):  # the last rank of the second has nothing to do
        (tmp_path / "series.h5").unlink()
        ended = run_ranks(size, ["import", config], tmp_path / f"said{size}")
        assert [one.code for one in ended] == [0] * size, ended[0].stderr
        assert series_content(tmp_path / "series.h5") == alone
        assert warnings_of(ended[0].stderr) == said and not any("warning" in one.stderr for one in ended[1:])
        assert not any(name.name.startswith(".series") for name in tmp_path.iterdir())
        assert not (tmp_path / "run").exists(), "the series is the only result"


def test_what_is_wrong_with_the_tilts_of_one_rank_stops_all_and_leaves_nothing(config, tmp_path):
    ended = run_ranks(2, ["import", config, "import.negative=error"], tmp_path / "negative")
    assert {one.code for one in ended} == {2} and "negative counts" in ended[0].stderr
    text = (tmp_path / "scan_4.npy").read_bytes()
    (tmp_path / "scan_4.npy").write_bytes(text[:-100])  # its header is intact: recognised, but not readable
    ended = run_ranks(2, ["import", config], tmp_path / "damaged")
    assert {one.code for one in ended} == {2} and "scan_4.npy" in "".join(one.stderr for one in ended)
    assert not any("series" in name.name for name in tmp_path.iterdir()) and not (tmp_path / "run").exists()


def test_the_file_that_is_wrong_is_named_as_by_one_process(config, tmp_path, capsys):
    for tilt in range(2):
        folder = tmp_path / f"folder_{tilt}"
        folder.mkdir()
        for number in range(12):
            np.save(folder / f"{number}.npy", np.zeros((6, 8 - (tilt == number == 1)), np.uint16))
    overrides = [f"import.data={tmp_path}/folder_*", "import.tilt_angles=[0, 10]", "import.scan.shape=[3, 4]"]
    overrides += ["import.detector.binning=[1, 1]", "import.detector.dark=null"]
    assert main(["import", str(config), *overrides]) == 2
    alone = capsys.readouterr().err.splitlines()[-1]
    ended = run_ranks(2, ["import", config, *overrides], tmp_path / "said")
    assert f"error: {tmp_path}/folder_1/1.npy: holds (1, 6, 7)" in alone
    assert alone in "".join(one.stderr for one in ended)
