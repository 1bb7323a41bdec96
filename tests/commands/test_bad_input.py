"""What is wrong is said before any long work, all of it at once, in a sentence that names cause and cure.

Exit code 2, no traceback, and nothing written. Ranks say it once.
"""

import os

import pytest
import torch
from command_line import RunningCommand, assert_refused, edit_series, files_in, run_ranks


def rename_pose(file) -> None:
    file["tilts/0001"].attrs["tilt"] = file["tilts/0001"].attrs["theta_deg"]
    del file["tilts/0001"].attrs["theta_deg"]


def transpose_positions(file) -> None:
    positions = file["tilts/0002/scan_positions"][()]
    del file["tilts/0002/scan_positions"]
    file["tilts/0002/scan_positions"] = positions.T


def everything_misshapen(file) -> None:
    rename_pose(file)
    transpose_positions(file)


def darken(file) -> None:
    file["tilts/0003/data"][...] = 0


def enlarge_sampling(file) -> None:
    file.attrs["angular_sampling_mrad"] = file.attrs["angular_sampling_mrad"] / 4


def coarse_sampling(file) -> None:
    file.attrs["angular_sampling_mrad"] = file.attrs["angular_sampling_mrad"] * 4


def positions_in_nanometres(file) -> None:
    file["tilts/0001/scan_positions"][...] = file["tilts/0001/scan_positions"][()] * 10


TILT_FAULTS = [
    (rename_pose, ["tilts/0001 has no attribute theta_deg"]),
    (transpose_positions, ["tilts/0002/scan_positions has shape (2, 42)", "(42, 2) in (y, x) order"]),
    (everything_misshapen, ["2 problems", "theta_deg", "(2, 42)"]),
    (darken, ["tilts/0003: 42 of 42 patterns have no counts at all"]),
]


@pytest.mark.parametrize(("fault", "words"), TILT_FAULTS, ids=[fault.__name__ for fault, _ in TILT_FAULTS])
def test_validate_names_every_tilt_that_a_reconstruction_would_leave_out(dptt, tiny, tmp_path, fault, words):
    series = edit_series(tiny / "series.h5", tmp_path / "faulty.h5", fault)
    ended = dptt("validate", tiny / "tiny.yaml", f"series={series}", f"run={tmp_path / 'run'}")
    assert_refused(ended, str(series), *words)
    assert files_in(tmp_path) == ["faulty.h5"]


SERIES_FAULTS = [
    (enlarge_sampling, (), ["semiangle_cutoff is 21.0 mrad but the detector ends at 7.50 mrad", "angular_sampling"]),
    (coarse_sampling, (), ["semiangle_cutoff of 21.0 mrad is 1.2 detector pixels", "2 or more"]),
    (
        positions_in_nanometres,
        ("volume.thickness=null", "volume.shape=[26, 40, 36]"),
        ["tilt 0001", "leaves the volume of 40 x 36 voxels", "positions are in Å"],
    ),
]


@pytest.mark.parametrize("command", ["validate", "reconstruct"])
@pytest.mark.parametrize(
    ("fault", "overrides", "words"), SERIES_FAULTS, ids=[fault.__name__ for fault, _, _ in SERIES_FAULTS]
)
def test_a_faulty_series_is_refused_by_both_commands(dptt, tiny, tmp_path, command, fault, overrides, words):
    series = edit_series(tiny / "series.h5", tmp_path / "faulty.h5", fault)
    ended = dptt(command, tiny / "tiny.yaml", f"series={series}", f"run={tmp_path / 'run'}", *overrides)
    assert_refused(ended, str(series), *words)
    assert files_in(tmp_path) == ["faulty.h5"]


@pytest.mark.parametrize("command", ["validate", "reconstruct"])
def test_a_window_larger_than_the_volume_is_refused(dptt, tiny, tmp_path, command):
    overrides = ["volume.thickness=null", "volume.shape=[26, 15, 40]", f"run={tmp_path / 'run'}"]
    ended = dptt(command, tiny / "tiny.yaml", *overrides)
    assert_refused(ended, "the volume is 15 x 40 voxels (y, x) but the probe window 16 x 14", "volume.shape")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("command", ["validate", "reconstruct"])
@pytest.mark.parametrize(
    "override",
    ["volume.voxel_size=1000", "volume.voxel_size=0.8", "reconstruction={every: 100, offset: 60}"],
    ids=["voxels larger than the window", "voxels too coarse for the bright disk", "no pattern"],
)
def test_choices_that_leave_nothing_to_fit_are_refused(dptt, tiny, tmp_path, command, override):
    ended = dptt(command, tiny / "tiny.yaml", override, f"run={tmp_path / 'run'}")
    assert_refused(ended, "voxel_size" if "voxel_size" in override else "every")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("command", ["validate", "reconstruct"])
@pytest.mark.parametrize("override", ["slice_thickness=0.0001", "num_slices=1000"])
def test_slices_thinner_than_a_voxel_are_refused(dptt, tiny, tmp_path, command, override):
    overrides = ["volume.slice_thickness=null", f"volume.{override}", f"run={tmp_path / 'run'}"]
    assert_refused(dptt(command, tiny / "tiny.yaml", *overrides), "thinner than a voxel", "volume.num_slices")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("command", ["validate", "reconstruct", "analyze"])
def test_a_missing_series_is_named(dptt, tiny, tmp_path, command):
    (tmp_path / "run").mkdir()
    ended = dptt(command, tiny / "tiny.yaml", f"series={tmp_path / 'absent.h5'}", f"run={tmp_path / 'run'}")
    assert_refused(ended, "run/volume.h5" if command == "analyze" else "absent.h5: there is no such file")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("command", ["validate", "reconstruct"])
@pytest.mark.parametrize("fraction", [0.5, 0.0], ids=["half", "empty"])
def test_a_truncated_series_is_refused(dptt, tiny, tmp_path, command, fraction):
    series = edit_series(tiny / "series.h5", tmp_path / "faulty.h5", lambda file: None)
    os.truncate(series, int(series.stat().st_size * fraction))
    ended = dptt(command, tiny / "tiny.yaml", f"series={series}", f"run={tmp_path / 'run'}")
    assert_refused(ended, "faulty.h5", "truncated" if fraction else "not an HDF5 file")
    assert files_in(tmp_path) == ["faulty.h5"]


BELOW_A_FILE, READ_ONLY = "{tmp}/plain/run", "/proc/dptt-test/run"


@pytest.mark.parametrize("place", [BELOW_A_FILE, READ_ONLY], ids=["below a file", "in /proc"])
@pytest.mark.parametrize("command", ["validate", "reconstruct"])
def test_a_run_folder_that_cannot_be_written_is_refused(dptt, tiny, tmp_path, command, place):
    (tmp_path / "plain").write_text("a file")
    place = place.format(tmp=tmp_path)
    ended = dptt(command, tiny / "tiny.yaml", f"run={place}")
    assert_refused(ended, place, "cannot be written", "another folder")


@pytest.mark.parametrize("place", ["{tmp}/plain/series.h5", BELOW_A_FILE, READ_ONLY])
def test_a_series_that_cannot_be_written_is_refused_before_it_is_simulated(dptt, tiny, tmp_path, place):
    (tmp_path / "plain").write_text("a file")
    place = place.format(tmp=tmp_path)
    ended = dptt("simulate", tiny / "tiny.yaml", f"series={place}")
    assert_refused(ended, place, "cannot be written")
    assert files_in(tmp_path) == ["plain"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["simulation.specimen.path=absent.xyz"], ["simulation:", "absent.xyz does not exist"]),
        (["simulation.microscope.aberrations={C13: 3}"], ["C13"]),
        (["simulation.microscope.aberrations={defocus: 3, C10: 3}"], ["defocus", "C10"]),
        (["simulation.tilts={start: 60, stop: -60, step: 5}"], ["no tilt angles from 60.0 to -60.0"]),
        (["simulation.tilts.angles=[]"], ["no angles"]),
        (["simulation.seed=-1"], ["seed"]),
        (["simulation=null"], ["no `simulation` section"]),
        (["volume.voxel_size=1000"], ["voxel_size"]),
    ],
)
def test_what_cannot_be_simulated_is_refused(dptt, tiny, tmp_path, overrides, words):
    ended = dptt("simulate", tiny / "tiny.yaml", f"series={tmp_path / 'series.h5'}", *overrides)
    assert_refused(ended, *words)
    assert files_in(tmp_path) == []


def test_a_command_without_its_section_says_so(dptt, tiny):
    assert_refused(dptt("import", tiny / "tiny.yaml"), "no `import` section")


def test_a_series_is_replaced_only_when_told(dptt, tiny, tmp_path):
    series = tmp_path / "series.h5"
    series.write_bytes(b"precious")
    arguments = ["simulate", tiny / "tiny.yaml", f"series={series}", "simulation.tilts.angles=[0]"]
    assert_refused(dptt(*arguments), str(series), "--overwrite")
    assert series.read_bytes() == b"precious"
    assert dptt(*arguments, "--overwrite").code == 0
    assert series.read_bytes()[:4] == b"\x89HDF"


@pytest.mark.parametrize("order", ["before", "between", "after"])
def test_an_option_may_stand_anywhere_among_the_overrides(dptt, tiny, tmp_path, order):
    (tmp_path / "series.h5").write_bytes(b"to be replaced")
    first, second = f"series={tmp_path / 'series.h5'}", "simulation.tilts.angles=[0]"
    arguments = {
        "before": ["--overwrite", tiny / "tiny.yaml", first, second],
        "between": [tiny / "tiny.yaml", first, "--overwrite", second],
        "after": [tiny / "tiny.yaml", first, second, "--overwrite"],
    }[order]
    ended = dptt("simulate", *arguments)
    assert ended.code == 0, ended.stderr


def test_validate_lists_problems_of_folder_series_and_counts_at_once(dptt, tiny, tmp_path):
    def change(file) -> None:
        darken(file)
        enlarge_sampling(file)

    series = edit_series(tiny / "series.h5", tmp_path / "series.h5", change)
    ended = dptt("validate", tiny / "tiny.yaml", f"series={series}", "run=/proc/dptt-test")
    assert_refused(ended, "3 problems", "cannot be written", "semiangle_cutoff", "tilts/0003: 42 of 42 patterns")


def test_validate_lists_a_bad_folder_beside_a_missing_series(dptt, tiny, tmp_path):
    ended = dptt("validate", tiny / "tiny.yaml", f"series={tmp_path / 'absent.h5'}", "run=/proc/dptt-test")
    assert_refused(ended, "absent.h5", "cannot be written")


def test_validate_writes_its_table_and_nothing_else(dptt, tiny, tmp_path):
    assert dptt("validate", tiny / "tiny.yaml", f"run={tmp_path / 'run'}").code == 0
    assert files_in(tmp_path) == ["run/validation.json"]


def test_validate_logs_warnings_without_refusing(dptt, tiny, tmp_path):
    def change(file) -> None:
        file["tilts/0001"].attrs["theta_deg"] = -50.0
        file.attrs["semiangle_cutoff_mrad"] = 10.0

    series = edit_series(tiny / "series.h5", tmp_path / "series.h5", change)
    ended = dptt("validate", tiny / "tiny.yaml", f"series={series}", f"run={tmp_path / 'run'}")
    assert ended.code == 0
    assert "warning: tilt angles: told 5 tilts, -50° to 60°, measured -50° occurs 2 times" in ended.stderr
    assert "warning: aperture: told 10.00 mrad, measured the bright disk has a radius" in ended.stderr
    assert "valid: no errors, 2 warnings" in ended.stderr, "one a kind, not one a tilt"


BAD_ON_RANKS = {
    "ranks that slabs do not divide": (
        ["distribution.slabs=2"],
        "3 rank(s) cannot be divided into 1 tilt group(s) of 2",
    ),
    "a GPU where there is none": (["distribution.device=cuda"], "distribution.device: got cuda, but"),
    "more tilt groups than tilts": (
        ["distribution.tilt_groups.count=3", "reconstruction.exclude=['0000','0001','0002']"],
        "distribution.tilt_groups.count: got 3, but 2 tilt(s) take part",
    ),
    "a misspelt key": (["reconstruction.epoch=3"], "did you mean `epochs`?"),
    "a missing series": (["series=absent.h5"], "there is no such file"),
    "a window larger than the volume": (
        ["volume.thickness=null", "volume.shape=[26, 15, 40]"],
        "probe window 16 x 14",
    ),
    "an unwritable folder": (["run=/proc/dptt-test"], "cannot be written"),
}


@pytest.mark.parametrize("fault", BAD_ON_RANKS)
def test_three_ranks_refuse_together_and_say_it_once(tiny, tmp_path, fault):
    if "GPU" in fault and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    overrides, words = BAD_ON_RANKS[fault]
    ended = run_ranks(
        3, ["reconstruct", tiny / "tiny.yaml", f"run={tmp_path / 'run'}", *overrides], tmp_path / "said"
    )
    assert [one.code for one in ended] == [2, 2, 2]
    assert_refused(ended[0], words)
    assert [one.stderr for one in ended[1:]] == ["", ""]


def test_a_launcher_that_does_not_say_which_rank_this_is_is_refused(tiny, tmp_path):
    variables = {"OMPI_COMM_WORLD_SIZE": "2"}
    ended = RunningCommand(["reconstruct", str(tiny / "tiny.yaml")], tmp_path / "said", variables).wait()
    assert_refused(ended, "OMPI_COMM_WORLD_RANK")


def test_a_configuration_that_is_no_text_is_refused(dptt, tiny):
    assert_refused(dptt("validate", tiny / "series.h5"), "series.h5")


def test_no_command_and_an_unknown_command_are_refused_with_the_known_ones(dptt):
    for arguments in ([], ["reconstrct", "a.yaml"]):
        ended = dptt(*arguments)
        assert ended.code == 2
        assert "usage: dptt" in ended.stderr
