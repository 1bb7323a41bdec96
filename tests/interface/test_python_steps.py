"""A result in Python is that of the command, bit for bit, with and without a folder."""

import inspect
import tempfile
from pathlib import Path

import numpy as np
import pytest

import dptt
from dptt.cli import main
from dptt.interface import steps
from dptt.io.alignment import read_alignment
from dptt.io.brightfield import read_calibration
from dptt.io.ptychography import read_tilt_image
from dptt.io.volumes import read_volume

VOLUME = {"thickness": 8.0, "margin": 1, "slice_thickness": 2.5}
SETTINGS = {"epochs": 2, "batches": 3, "validation_fraction": 0.05}
ALIGNMENT = {"translation_iterations": 1, "angle_iterations": 1, "volume_iterations": 2}


def same(a, b) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b)


def test_a_reconstruction_from_keywords_is_that_of_the_configuration(here):
    result = dptt.reconstruct(dptt.read("series.h5"), volume=VOLUME, **SETTINGS)
    stored = read_volume("run/volume.h5")
    assert same(result.volume, stored.volume)
    assert result.voxel_size == stored.voxel_size
    assert same(result.tilts["0002"].probe, stored.tilts["0002"].probe)
    assert list(result.losses) == list(dptt.load("run").losses)
    assert result.config.reconstruction == dptt.load("run").config.reconstruction


def test_a_reconstruction_goes_on_with_the_settings_of_the_configuration_file(here, tmp_path):
    result = dptt.reconstruct(dptt.read("tiny.yaml"), run=tmp_path / "again")
    assert same(result.volume, read_volume("run/volume.h5").volume)
    assert result.run == tmp_path / "again"


def test_without_a_folder_the_files_last_as_long_as_the_result(here):
    result = dptt.reconstruct(dptt.read("series.h5"), volume=VOLUME, epochs=1)
    folder = result.run
    assert (folder / "volume.h5").exists() and folder.resolve() != Path("run").resolve()
    del result
    assert not folder.exists()


@pytest.mark.thorough
@pytest.mark.slow
def test_every_step_gives_what_its_command_gives_and_is_used_by_the_next(here, tmp_path):
    sections = "ptychography: {epochs: 1}\nalignment: {translation_iterations: 1, angle_iterations: 1, "
    sections += "volume_iterations: 2}\nbrightfield: {orientation: keep}\n"
    Path(tmp_path / "all.yaml").write_text(
        Path("tiny.yaml").read_text().replace("run: run", f"run: {tmp_path}/cli") + sections
    )
    for command in ("brightfield", "ptycho", "align", "reconstruct"):
        assert main([command, f"{tmp_path}/all.yaml"]) == 0
    optics = dptt.brightfield(dptt.read("series.h5"), orientation="keep")
    images = dptt.ptychography(optics, epochs=1, volume=VOLUME)
    poses = dptt.align(images, **ALIGNMENT)
    result = dptt.reconstruct(poses, **SETTINGS)
    cli = tmp_path / "cli"
    calibrated = read_calibration(cli / "brightfield.h5").tilts
    expected = {name: -tilt.aberrations["C10"] for name, tilt in calibrated.items()}
    assert optics.defocus == pytest.approx(expected, rel=1e-6), "its search rounds differently from call to call"
    assert same(images["0001"].slices, read_tilt_image(cli / "ptychography.h5", "0001").slices)
    assert same(poses.alignment.volume, read_alignment(cli / "alignment.h5").volume)
    assert same(result.volume, read_volume(cli / "volume.h5").volume)
    assert not same(result.volume, read_volume("run/volume.h5").volume), "the earlier steps changed nothing"
    assert len({optics.run, images.run, poses.run, result.run}) == 4
    for step in (optics, images, poses, result):
        assert "\n" not in repr(step) and "<table>" in step._repr_html_()
    assert len(optics.show()) == 2 and len(images.show()) == len(poses.show()) == 1


def test_a_folder_with_other_settings_is_refused_as_by_the_command_and_restarted_on_demand(here, tmp_path, capsys):
    series = dptt.read("series.h5")
    dptt.reconstruct(series, run=tmp_path, volume=VOLUME, epochs=1)
    with pytest.raises(ValueError, match="belongs to a run with other settings") as refused:
        dptt.reconstruct(series, run=tmp_path, volume=VOLUME, epochs=1, step=0.5)
    Path(tmp_path / "other.yaml").write_text(
        f"series: series.h5\nrun: {tmp_path}\nvolume: {VOLUME}\nreconstruction: {{epochs: 1, step: 0.5}}"
    )
    assert main(["reconstruct", f"{tmp_path}/other.yaml"]) == 2
    assert f"error: {refused.value}\n" in capsys.readouterr().err
    assert dptt.reconstruct(series, run=tmp_path, volume=VOLUME, epochs=1, step=0.5, restart=True).epochs


def test_a_later_reconstruction_in_the_same_folder_is_not_taken_for_the_earlier_one(here, tmp_path):
    series = dptt.read("series.h5")
    first = dptt.reconstruct(series, run=tmp_path, volume=VOLUME, epochs=1)
    dptt.reconstruct(series, run=tmp_path, volume=VOLUME, epochs=2)
    with pytest.raises(ValueError, match="another volume by now"):
        first.atoms()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epohcs": 3}, ["reconstruction.epohcs: unknown key; did you mean `epochs`?"]),
        ({"epochs": 0, "volume": {"thickness": -1}}, ["2 errors", "reconstruction.epochs", "volume.thickness"]),
        ({"volume": {"shape": [8, 8]}}, ["volume.shape"]),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_the_call_and_the_key(here, settings, words, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ValueError) as error:
        dptt.reconstruct(dptt.read("series.h5"), **settings)
    assert str(error.value).startswith("dptt.reconstruct: ")
    assert all(word in str(error.value) for word in words)
    assert list(tmp_path.iterdir()) == []


def test_several_processes_are_refused(here, monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RuntimeError, match="runs as one process, but torchrun started 2"):
        dptt.reconstruct(dptt.read("series.h5"))


def test_something_else_than_a_series_is_refused(here):
    unchecked = inspect.unwrap(steps._prepared)  # in the tests, beartype would notice it before
    with pytest.raises(TypeError, match=r"dptt.reconstruct got str; expected a series, from dptt.read"):
        unchecked("reconstruct", "series.h5", None, {})


def test_the_time_limit_ends_a_reconstruction_with_an_exception_that_says_how_to_go_on(here, tmp_path):
    limits = {"time_limit": 1e-9}
    with pytest.raises(Exception, match=r"distribution.time_limit ended dptt.reconstruct.*run="):
        dptt.reconstruct(dptt.read("series.h5"), run=tmp_path, volume=VOLUME, epochs=9, distribution=limits)
