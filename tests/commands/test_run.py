"""`dptt run`: every step in order; done ones are skipped, a changed choice repeats what depends on it, no more."""

import json
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from command_line import RunningCommand, run_ranks, small_pictures, wait_until, without_pictures

from dptt.io.volumes import read_volume

STEPS = ("ptychography", "reconstruction")
CHOICES = ["ptychography.epochs=2", "reconstruction.epochs=2"]


def begun(stderr: str) -> list[str]:
    """Return the steps that a run did, in order."""
    return [line.split()[1].rstrip(":") for line in stderr.splitlines() if line.endswith(": starting")]


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """Return the arguments of a run on a new series, after it has been done once, and what it said."""
    folder = tmp_path_factory.mktemp("run")
    arguments = ["run", tiny / "tiny.yaml", f"series={folder / 'series.h5'}", f"run={folder / 'run'}", *CHOICES]
    ended = RunningCommand(list(map(str, arguments)), folder / "stderr", before=small_pictures).wait()
    assert ended.code == 0, ended.stderr
    return folder, arguments, ended.stderr


def test_one_command_goes_from_nothing_to_the_report(finished):
    folder, _, said = finished
    assert begun(said) == ["validate", *STEPS]
    for name in ("series.h5", "run/ptychography.h5", "run/volume.h5", "run/analysis.json", "run/report.html"):
        assert (folder / name).stat().st_size > 0, name
    assert not (folder / "run" / "half_1").exists(), "half-sets are for series without a true potential"


def test_a_second_run_does_nothing(dptt, finished):
    folder, arguments, _ = finished
    before = {
        p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name not in ("stderr", "run.log")
    }
    ended = dptt(*arguments)
    assert ended.code == 0
    assert begun(ended.stderr) == []
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_page_of_another_analysis_is_made_again(dptt, finished, tmp_path):
    """A run that is killed between the analysis and its page leaves the page of an earlier one."""
    folder, arguments, _ = finished
    run = Path(copytree(folder / "run", tmp_path / "run"))
    new = (run / "report.html").read_text()
    (run / "report.html").write_text(new.replace('name="dptt-analysis" content="', 'name="dptt-analysis" content="1'))
    again = [argument for argument in arguments if not str(argument).startswith("run=")]
    ended = dptt(*again, f"run={run}", before=small_pictures)
    assert ended.code == 0 and begun(ended.stderr) == []
    assert 'name="dptt-analysis" content="1' not in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("change", "repeated"),
    [
        ("reconstruction.epochs=3", ["reconstruction"]),
        pytest.param("reconstruction.momentum=0.3", ["reconstruction"], marks=pytest.mark.thorough),
        pytest.param("ptychography.momentum=0.3", ["ptychography", "reconstruction"], marks=pytest.mark.thorough),
        ("volume.margin=2", ["validate", "ptychography", "reconstruction"]),
        ("analysis.min_separation=1.2", []),
        ("reconstruction.chunk_memory=2.0", []),
    ],
)
def test_a_changed_choice_repeats_what_depends_on_it(dptt, finished, tmp_path, change, repeated):
    folder, arguments, _ = finished
    copy = Path(copytree(folder, tmp_path / "copy"))  # with the series, which another volume makes anew
    run = copy / "run"
    analysed = (run / "analysis.json").stat().st_mtime_ns
    moved = (str(argument).replace(f"={folder}", f"={copy}") for argument in arguments)
    ended = dptt(*moved, change, before=without_pictures)
    assert ended.code == 0, ended.stderr
    assert begun(ended.stderr) == repeated
    if change.startswith("analysis"):
        assert (run / "analysis.json").stat().st_mtime_ns > analysed


@pytest.mark.thorough
def test_a_choice_that_is_taken_back_repeats_it_again(dptt, finished):
    _, arguments, _ = finished
    for some in ([*arguments, "reconstruction.momentum=0.3"], arguments):
        ended = dptt(*some, before=without_pictures)
        assert ended.code == 0 and begun(ended.stderr) == ["reconstruction"]


@pytest.mark.thorough
def test_an_interrupted_run_goes_on_and_ends_with_the_same_volume(finished, tmp_path):
    """SIGKILL at several moments: while the tilts are done one by one, and in the end-to-end loop."""
    folder, arguments, _ = finished
    arguments = [str(a).replace(f"run={folder / 'run'}", f"run={tmp_path / 'run'}") for a in arguments]
    for wait_for in ("ptychography/0001.h5", "checkpoint.h5"):
        command = RunningCommand(arguments, tmp_path / "said")
        wait_until((tmp_path / "run" / wait_for).exists, command)
        command.kill()
        assert not (tmp_path / "run" / "volume.h5").exists()
    ended = RunningCommand(arguments, tmp_path / "said", before=without_pictures).wait()
    assert ended.code == 0, ended.stderr
    volumes = [read_volume(run / "volume.h5").volume for run in (folder / "run", tmp_path / "run")]
    np.testing.assert_array_equal(volumes[0], volumes[1])


@pytest.mark.thorough
def test_ranks_run_all_steps_together(finished, tmp_path):
    folder, arguments, _ = finished
    arguments = [str(a).replace(f"run={folder / 'run'}", f"run={tmp_path / 'run'}") for a in arguments]
    ended = run_ranks(2, arguments, tmp_path / "said", before=without_pictures)
    assert [one.code for one in ended] == [0, 0], ended[0].stderr
    analyses = [json.loads((run / "analysis.json").read_text()) for run in (folder / "run", tmp_path / "run")]
    assert analyses[1]["correlation"] == pytest.approx(analyses[0]["correlation"], abs=1e-4)


def test_what_stops_a_step_on_one_rank_stops_all_and_is_said_once(finished, tmp_path):
    folder, arguments, _ = finished
    series, config = str(folder / "series.h5"), str(tmp_path / "absent.h5")
    arguments = [str(a).replace(series, config) for a in arguments]
    ended = run_ranks(2, [*arguments, "simulation=null"], tmp_path / "said")
    assert [one.code for one in ended] == [2, 2]
    assert "absent.h5 does not exist" in ended[0].stderr and "simulation" in ended[0].stderr
    assert all("Traceback" not in one.stderr for one in ended)
