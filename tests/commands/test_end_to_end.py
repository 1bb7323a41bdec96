"""From specimen to report through the command line, judged against the truth."""

import json
import shutil
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import yaml
from command_line import RunningCommand, checkpoint, relative_difference

from dptt.cli import main
from dptt.config import load_config
from dptt.io.dataset import TiltSeries
from dptt.io.hdf5_file import text
from dptt.io.volumes import read_volume
from dptt.logs import read_metrics


@pytest.fixture(scope="module")
def result(tiny, tmp_path_factory) -> Path:
    """Folder of the tiny series validated, reconstructed and analyzed."""
    run = tmp_path_factory.mktemp("end") / "run"
    for command in ("validate", "reconstruct", "analyze"):
        ended = RunningCommand([command, str(tiny / "tiny.yaml"), f"run={run}"], run.parent / command).wait()
        assert ended.code == 0, ended.stderr
    return run


@pytest.fixture(scope="module")
def analysis(result) -> dict:
    """What `dptt analyze` found."""
    return json.loads((result / "analysis.json").read_text())


def test_the_losses_fall_to_the_shot_noise(result):
    """Poisson counts differ from their mean by (1/2)² in amplitude, which is shared by the electrons of a pattern."""
    noise = 0.25 * (16 * 14) / (1e5 * 0.7 * 0.8)
    records = read_metrics(result / "metrics.jsonl")
    losses = [record["loss"] for record in records]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 2 * noise < 0.5 * losses[0]
    assert records[-1]["held_out_loss"] < 2 * noise, "of patterns that no update saw"


def test_the_volume_is_that_of_the_specimen(analysis):
    assert analysis["reference"] == "truth"
    assert analysis["correlation"] > 0.75
    assert 0.7 < analysis["total_potential_ratio"] < 1.5
    assert analysis["resolution"]["0.5"]["resolution_A"] < 0.9


def test_every_atom_is_found_where_it_is(analysis):
    match = analysis["atoms"]["match"]
    assert (match["num_true"], match["recall"]) == (7, 1.0)
    assert match["rmsd_A"] < 0.1


def test_known_poses_stay_as_they_are(analysis):
    assert analysis["poses"]["max_angle_error_deg"] < 1e-12  # angles become rotations and angles again
    assert analysis["poses"]["max_translation_error_A"] == 0


def test_outputs_say_where_they_come_from(tiny, result):
    volume = read_volume(result / "volume.h5")
    with TiltSeries.open(tiny / "series.h5") as series:
        assert volume.attributes["series_checksum"] == series.checksum()
    for package in ("dptt", "torch", "numpy", "python", "h5py"):
        assert volume.attributes[f"version_{package}"][0].isdigit()
    assert volume.attributes["created"].startswith("20")
    config = load_config(result / "config.yaml")
    assert yaml.safe_load(volume.attributes["config"]) == yaml.safe_load((result / "config.yaml").read_text())
    assert config == load_config(tiny / "tiny.yaml", [f"run={result}"])
    with h5py.File(result / "checkpoint.h5") as file:
        assert {"config", "version_dptt", "epoch"} <= set(file["attributes"])


def test_the_simulated_series_holds_its_configuration_and_its_truth(tiny):
    with TiltSeries.open(tiny / "series.h5") as series:
        assert yaml.safe_load(series.header.config)["simulation"]["fluence"] == 1e5
        assert series.header.creator.startswith("dptt 0")
        truth = series.truth()
    assert truth is not None and truth.volume is not None
    assert sorted(truth.atomic_numbers) == [28, 28, 46, 46, 78, 78, 78]


def test_the_truth_lies_on_the_grid_of_the_reconstruction(tiny, result):
    volume = read_volume(result / "volume.h5")
    with TiltSeries.open(tiny / "series.h5") as series:
        truth = series.truth()
    assert truth.volume.shape == volume.volume.shape
    assert truth.voxel_size == volume.voxel_size


def test_the_volume_file_holds_what_was_found_for_each_tilt(tiny, result):
    volume = read_volume(result / "volume.h5")
    assert list(volume.tilts) == ["0000", "0001", "0002", "0003", "0004"]
    assert [tilt.euler_angles[1] for tilt in volume.tilts.values()] == [-50, -20, 5, 35, 60]
    last = read_metrics(result / "metrics.jsonl")[-1]["tilt_losses"]
    for tilt, loss in zip(volume.tilts.values(), last, strict=True):
        assert tilt.scan_positions.shape == (42, 2)
        assert tilt.probe.shape == (1, 16, 14)
        assert tilt.attributes["loss"] == loss


def test_nothing_but_results_is_left_in_the_folder(result):
    names = {path.name for path in result.iterdir()}
    assert names - {"report.html", "volume.mrc", "validation.json"} == {
        "run.log",
        "config.yaml",
        "metrics.jsonl",
        "checkpoint.h5",
        "checkpoint.h5.previous",
        "volume.h5",
        "analysis.json",
    }


def test_every_epoch_has_one_line_that_a_person_can_read(dptt, tiny, tmp_path):
    ended = dptt("reconstruct", tiny / "tiny.yaml", f"run={tmp_path}", "reconstruction.epochs=2")
    lines = [line for line in ended.stderr.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in lines] == ["001/002", "002/002"]
    for line in lines:
        for word in ("loss ", "held-out ", "read ", "compute ", "comm "):
            assert word in line
    assert "\r" not in ended.stderr, "no progress bar outside a terminal"


def test_all_shapes_and_types_are_those_that_the_signatures_promise(tiny, tmp_path):
    """In this process every annotated function checks what it is given, and a warning is an error."""
    arguments = [str(tiny / "tiny.yaml"), f"run={tmp_path}", "reconstruction.epochs=2", "volume.voxel_size=0.45"]
    arguments += ["reconstruction.probe={modes: 2, from_epoch: 1}", "reconstruction.regularisation.layer_weight=1"]
    arguments += [f"reconstruction.{what}.from_epoch=2" for what in ("positions", "angles", "translations")]
    for command in ("validate", "reconstruct", "analyze"):
        assert main([command, *arguments]) == 0, command


@pytest.mark.slow
def test_the_report_is_one_page_with_the_volume_beside_it(result, dptt):
    ended = dptt("report", result)
    assert ended.code == 0, ended.stderr
    page = (result / "report.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")
    for outside in ('src="http', 'href="http', "url(http"):
        assert outside not in page, "self-contained"
    with mrcfile.open(result / "volume.mrc") as mrc:
        np.testing.assert_array_equal(mrc.data, read_volume(result / "volume.h5").volume.real)
        assert mrc.voxel_size.x == pytest.approx(read_volume(result / "volume.h5").voxel_size[2], rel=1e-6)


def test_a_report_of_a_run_without_a_volume_is_refused(dptt, tmp_path):
    ended = dptt("report", tmp_path)
    assert ended.code == 2
    assert "the folder holds no result. Run `dptt reconstruct` or an earlier step first" in ended.stderr


def test_an_analysis_of_a_run_without_a_volume_is_refused(dptt, tiny, tmp_path):
    ended = dptt("analyze", tiny / "tiny.yaml", f"run={tmp_path}")
    assert ended.code == 2
    assert "Run `dptt reconstruct` first" in ended.stderr


@pytest.mark.parametrize("command", ["analyze", "report"])
def test_a_volume_is_not_judged_by_the_truth_of_another_series(dptt, tiny, result, tmp_path, command):
    folder = tmp_path / "run"
    shutil.copytree(result, folder)
    other = tmp_path / "other.h5"
    shutil.copy(tiny / "series.h5", other)
    with h5py.File(other, "r+") as file:
        file["tilts/0001"].attrs["theta_deg"] += 1.0
    if command == "report":  # the page follows the series named in the volume's own configuration
        with h5py.File(folder / "volume.h5", "r+") as file:
            file.attrs["config"] = text(file.attrs["config"]).replace(str(tiny / "series.h5"), str(other))
        ended = dptt("report", folder)
    else:
        ended = dptt("analyze", tiny / "tiny.yaml", f"run={folder}", f"series={other}")
    assert ended.code == 2
    assert "another series" in ended.stderr and "Traceback" not in ended.stderr


def test_half_sets_of_alternate_patterns_correlate(dptt, tiny, result, tmp_path):
    for half in (0, 1):
        choices = ("reconstruction.every=2", f"reconstruction.offset={half}", "reconstruction.epochs=3")
        ended = dptt("reconstruct", tiny / "tiny.yaml", f"run={tmp_path / str(half)}", *choices)
        assert ended.code == 0, ended.stderr
    assert {len(tilt.scan_positions) for tilt in read_volume(tmp_path / "1" / "volume.h5").tilts.values()} == {21}
    halves = [str(tmp_path / half / "volume.h5") for half in "01"]
    run = tmp_path / "0"
    ended = dptt("analyze", tiny / "tiny.yaml", f"run={run}", f"analysis.half_sets={halves}")
    assert ended.code == 0, ended.stderr
    found = json.loads((run / "analysis.json").read_text())
    assert found["reference"] == "half-sets"
    assert 0.5 < found["resolution"]["0.143"]["resolution_A"] < 2.0


IMPORT = """
series: {folder}/imported.h5
run: {folder}/run
import:
  data: [{{path: {folder}/foreign.npz, dataset: frames}}]
  axes: [kx, scan_x, tilt, ky, scan_y]
  tilt_angles: {{path: {folder}/angles.npy}}
  tilt_sign: -1
  energy: 300e3
  semiangle_cutoff: 21.0
  aberrations: {{defocus: 40.0}}
  scan: {{step: [0.7, 0.8], centre: [2.1, 2.4]}}
  detector: {{angular_sampling: {sampling}, centre: [8, 6], flip_x: true, counts_per_electron: 3.0}}
volume: {{thickness: 8.0, margin: 1, slice_thickness: 2.5}}
reconstruction: {{epochs: 5, batches: 3, validation_fraction: 0.05}}
"""


def foreign_arrays(series: Path, folder: Path) -> Path:
    """Save the patterns as a foreigner would, mirrored and in another order, and return their description."""
    with TiltSeries.open(series) as source:
        counts = np.stack([tilt.read(slice(None)).reshape(7, 6, 16, 14) for tilt in source.tilts])
        angles = np.array([tilt.euler_angles[1] for tilt in source.tilts])
        sampling = list(source.angular_sampling)
    mirrored = counts[..., ::-1]  # the zero angle moves from index 7 of 14 to 6
    foreign = np.ascontiguousarray(mirrored.transpose(4, 2, 0, 3, 1)).astype(np.float32) * 3
    np.savez_compressed(folder / "foreign.npz", frames=foreign)
    np.save(folder / "angles.npy", -angles)
    config = folder / "import.yaml"
    config.write_text(IMPORT.format(folder=folder, sampling=sampling))
    return config


def test_imported_arrays_give_the_reconstruction_of_the_native_file(dptt, tiny, result, tmp_path):
    config = foreign_arrays(tiny / "series.h5", tmp_path)
    for command in ("import", "validate", "reconstruct"):
        ended = dptt(command, config)
        assert ended.code == 0, ended.stderr
    native, imported = checkpoint(result), checkpoint(tmp_path / "run")
    assert native.keys() == imported.keys()
    np.testing.assert_allclose(imported["positions/0003"], native["positions/0003"], atol=1e-12)
    np.testing.assert_array_equal(imported["euler_angles"], native["euler_angles"])
    assert relative_difference(imported["volume"], native["volume"]) < 1e-4


def test_the_same_configuration_simulates_the_same_series(dptt, tiny, tmp_path):
    assert dptt("simulate", tiny / "tiny.yaml", f"series={tmp_path / 'again.h5'}").code == 0
    with TiltSeries.open(tiny / "series.h5") as first, TiltSeries.open(tmp_path / "again.h5") as second:
        for a, b in zip(first.tilts, second.tilts, strict=True):
            np.testing.assert_array_equal(a.read(slice(None)), b.read(slice(None)))


@pytest.mark.thorough
@pytest.mark.slow
def test_refinement_brings_wrong_translations_nearer_to_the_truth(dptt, tiny, tmp_path):
    choices = [f"series={tmp_path / 'series.h5'}", f"run={tmp_path / 'run'}"]
    choices += [f"simulation.tilts.angles={list(range(-70, 71, 10))}", "simulation.tilts.translation_error=0.3"]
    choices += ["reconstruction.translations.from_epoch=2", "reconstruction.epochs=8", "volume.voxel_size=0.4"]
    for command in ("simulate", "reconstruct", "analyze"):
        ended = dptt(command, tiny / "tiny.yaml", *choices)
        assert ended.code == 0, ended.stderr
    poses = json.loads((tmp_path / "run" / "analysis.json").read_text())["poses"]
    assert poses["nominal_median_translation_error_A"] > 0.1
    assert poses["median_translation_error_A"] < 0.6 * poses["nominal_median_translation_error_A"]


@pytest.mark.parametrize("seed", [7, 20_250_115, 2**31])
def test_any_number_from_zero_may_seed_a_reconstruction(dptt, tiny, tmp_path, seed):
    choices = (f"reconstruction.seed={seed}", "reconstruction.epochs=1", "reconstruction.every=7")
    ended = dptt("reconstruct", tiny / "tiny.yaml", f"run={tmp_path}", "volume.voxel_size=0.45", *choices)
    assert ended.code == 0, ended.stderr
