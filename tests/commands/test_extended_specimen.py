"""A film that continues beyond the scan: its volume holds it at every tilt, and what all tilts see is judged."""

import json

import numpy as np
import pytest
from command_line import run_ranks

from dptt.assembly.problem import plan_series_geometry
from dptt.assembly.validation.extent import extent_check
from dptt.cli import main
from dptt.config import load_config
from dptt.io.dataset import TiltSeries
from dptt.io.volumes import read_volume

FILM = """
series: {folder}/series.h5
run: {folder}/run
simulation:
  specimen: {{kind: file, path: "crystal:SrTiO3", repeat: [7, 5, 2]}}
  microscope:
    energy: 300e3
    semiangle_cutoff: 21.0
    aberrations: {{defocus: 60.0}}
    detector_shape: [16, 16]
    largest_angle: 24.0
  scan: {{shape: [7, 8], step: 1.0}}
  tilts: {{angles: [-40, -10, 15, 40]}}
  fluence: 1.0e5
  multislice: {{slice_thickness: 2.0}}
volume: {{thickness: 9.0, extended: true, margin: 1}}
reconstruction: {{epochs: 3, regularisation: {{nonnegativity: 0.0, l1: 0.0}}}}
analysis: {{min_separation: 1.5}}
"""


@pytest.mark.thorough
def test_a_film_is_reconstructed_beyond_the_scan_and_judged_where_all_tilts_see_it(tmp_path, blank_pictures):
    path = tmp_path / "film.yaml"
    path.write_text(FILM.format(folder=tmp_path))
    for command in ("simulate", "reconstruct", "analyze"):
        assert main([command, str(path)]) == 0
    assert main(["report", str(tmp_path / "run")]) == 0
    result = read_volume(tmp_path / "run" / "volume.h5")
    depth, _, width = np.multiply(result.volume.shape, result.voxel_size)
    window = 16 * result.voxel_size[2]
    assert width > (7.0 + window) / np.cos(np.radians(40)) + 9.0 * np.tan(np.radians(40))
    planes = (np.arange(len(result.volume)) - len(result.volume) // 2) * result.voxel_size[0]
    assert depth > 20
    assert not result.volume[np.abs(planes) > 4.5 + result.voxel_size[0]].any()
    assert np.abs(result.volume[np.abs(planes) < 3]).max() > 5

    analysis = json.loads((tmp_path / "run" / "analysis.json").read_text())
    assert 0 < analysis["field_of_view"]["fraction"] < 0.3
    z, y, x = np.array(analysis["atoms"]["positions"]).T
    assert len(z) > 10 and (np.abs(y) <= 3.2).all(), "rows from -3 to 3 Å"
    for angle in (-40, -10, 15, 40):
        across = x * np.cos(np.radians(angle)) + z * np.sin(np.radians(angle))
        assert (np.abs(across) <= 3.7).all(), "columns from -3.5 to 3.5 Å, and half a voxel"
    match = analysis["atoms"]["match"]
    assert 5 < match["num_true"] < len(z) < 350
    assert match["recall"] >= 0.8
    assert "judged is what all tilts see" in (tmp_path / "run" / "run.log").read_text()

    film, film_said_to_end = extent(path), extent(path, "volume.extended=false")
    assert (film.verdict, film.cure) == ("right", "")
    assert film_said_to_end.verdict == "cannot be told" and "volume.extended: true" in film_said_to_end.cure
    assert 'id="figure-field_of_view"' in (tmp_path / "run" / "report.html").read_text()


def extent(path, *choices):
    config = load_config(path, list(choices))
    with TiltSeries.open(config.series) as series:
        return extent_check(series, plan_series_geometry(config, series))


def test_a_particle_ends_within_the_scan_whatever_is_said(tiny):
    told = extent(tiny / "tiny.yaml"), extent(tiny / "tiny.yaml", "volume.extended=true")
    assert [(one.verdict, bool(one.cure)) for one in told] == [("right", False), ("cannot be told", True)]
    assert "leave volume.extended out" in told[1].cure


@pytest.mark.thorough
def test_two_slabs_keep_the_same_vacuum_as_one_process(tmp_path):
    path = tmp_path / "film.yaml"
    path.write_text(FILM.format(folder=tmp_path))
    assert main(["simulate", str(path)]) == 0
    volumes = []
    for ranks in (1, 2):
        run = tmp_path / f"run{ranks}"
        choices = [f"run={run}", f"distribution.slabs={ranks}", "reconstruction.precision=double"]
        ended = run_ranks(ranks, ["reconstruct", str(path), *choices], tmp_path / f"said{ranks}")
        assert [one.code for one in ended] == [0] * ranks, ended[0].stderr
        volumes.append(read_volume(run / "volume.h5").volume)
    one, two = volumes
    assert not one[:3].any() and not two[:3].any() and np.abs(one).max() > 5
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-6 * np.abs(one).max())
