"""`dptt run` on a series without truth: two independent half-sets, and what they say on the page."""

import json
from pathlib import Path
from shutil import copy

import h5py
import numpy as np
import pytest
from command_line import RunningCommand, small_pictures, without_pictures

from dptt.assembly.selection import chosen_positions
from dptt.config import config_from_yaml
from dptt.io.dataset import TiltSeries
from dptt.io.ptychography import read_tilt_image
from dptt.io.volumes import read_volume

pytestmark = pytest.mark.thorough  # test_python_results makes half-sets in the default level
TILT = "0002"
CHOICES = ["reconstruction.epochs=3", "ptychography.epochs=1", "ptychography.positions.from_epoch=1"]


def same_series_without_truth(tiny: Path, folder: Path) -> Path:
    series = Path(copy(tiny / "series.h5", folder / "series.h5"))
    with h5py.File(series, "r+") as file:
        del file["truth"]
    return series


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """Return the folder of a run, its arguments, and what it said."""
    folder = tmp_path_factory.mktemp("halves")
    series = same_series_without_truth(tiny, folder)
    arguments = ["run", str(tiny / "tiny.yaml"), f"series={series}", f"run={folder / 'run'}", "simulation=null"]
    arguments += CHOICES
    ended = RunningCommand(arguments, folder / "said", before=small_pictures).wait()
    assert ended.code == 0, ended.stderr
    return folder / "run", arguments, ended.stderr


def test_without_truth_two_half_sets_are_made_and_compared(finished):
    run, _, said = finished
    assert "half-set 1 of 2" in said and "half-set 2 of 2" in said
    analysis = json.loads((run / "analysis.json").read_text())
    assert analysis["reference"] == "half-sets"
    assert 0.5 < analysis["resolution"]["0.143"]["resolution_A"] < 2.5
    assert len(analysis["fsc"]["uncorrected"]) == len(analysis["fsc"]["correlation"])
    assert analysis["worst_direction"]["criterion"] == 0.143
    page = (run / "report.html").read_text()
    assert "between half data sets" in page and "Not confirmed as atoms" not in page


def test_the_halves_share_no_pattern_and_together_are_all(finished):
    run, _, _ = finished
    halves = [config_from_yaml(read_volume(run / f"half_{n}" / "volume.h5").attributes["config"]) for n in (1, 2)]
    assert [half.half for half in halves] == [1, 2]
    with TiltSeries.open(halves[0].series) as series:
        count = {tilt.name: tilt.num_positions for tilt in series.tilts}
    used = [
        {name: len(tilt.scan_positions) for name, tilt in read_volume(run / f"half_{n}" / "volume.h5").tilts.items()}
        for n in (1, 2)
    ]
    assert {name: used[0][name] + used[1][name] for name in count} == count


def test_each_half_has_probes_and_positions_of_its_own_patterns_alone(finished):
    """Ptychography moved positions from its first epoch on: those of the other half stay where they were."""
    run, _, _ = finished
    images = [read_tilt_image(run / f"half_{n}" / "ptychography.h5", TILT) for n in (1, 2)]
    with TiltSeries.open(run.parent / "series.h5") as series:
        nominal = {tilt.name: tilt.scan_positions() for tilt in series.tilts}[TILT]
    for number, image in zip((1, 2), images, strict=True):
        moved = np.flatnonzero(np.any(image.scan_positions != nominal, axis=1))
        own = chosen_positions(TILT, len(nominal), number)
        assert set(moved) <= set(own) and len(moved) > 0.8 * len(own)
    assert np.abs(images[0].probe - images[1].probe).max() > 1e-3 * np.abs(images[0].probe).max()


def test_every_peak_is_judged_by_the_half_sets_too(finished):
    atoms = json.loads((finished[0] / "analysis.json").read_text())["atoms"]
    assert len(atoms["half_set_sigma"]) == len(atoms["significance"]) == len(atoms["positions"]) > 0
    assert np.all(np.array(atoms["half_set_sigma"]) > 0)
    most = np.array(atoms["peaks"]) / np.array(atoms["half_set_sigma"])
    assert np.all(np.array(atoms["significance"]) <= most * (1 + 1e-9))


def test_a_second_run_does_nothing(dptt, finished):
    run, arguments, _ = finished
    again = dptt(*arguments, before=without_pictures)
    assert again.code == 0 and ": starting" not in again.stderr
    assert "analysis: up to date" in again.stderr and "report: up to date" in again.stderr


def test_they_are_not_made_where_they_are_refused(finished, dptt):
    run, arguments, _ = finished
    other = run.with_name("other")
    refused = [a.replace(f"run={run}", f"run={other}") for a in arguments]
    ended = dptt(*refused, "analysis.half_sets=false", "ptychography=null", before=without_pictures)
    assert ended.code == 0, ended.stderr
    assert (other / "report.html").exists() and not (other / "half_1").exists()


@pytest.mark.parametrize("count", [1, 2, 41, 42])
def test_one_of_each_two_neighbours_belongs_to_each_half(count):
    first, second = (chosen_positions("0000", count, half) for half in (1, 2))
    assert sorted([*first, *second]) == list(range(count))
    pairs = [[i // 2 for i in half if i < count // 2 * 2] for half in (first, second)]
    assert pairs[0] == pairs[1] == list(range(count // 2))


def test_the_halves_have_no_stripes():
    """Neither rows nor columns of a scan belong to one half alone."""
    first = np.isin(np.arange(400), chosen_positions("tilt", 400, 1)).reshape(20, 20)
    for axis in (0, 1):
        assert 0.15 < first.mean(axis).min() and first.mean(axis).max() < 0.85


def test_a_position_is_in_the_same_half_whatever_is_left_out():
    everyone = chosen_positions("0000", 50, 1)
    assert set(chosen_positions("0000", 50, 1, every=3, offset=2)) == set(everyone) & set(range(2, 50, 3))
