"""How a study goes on where it was, and the series that it makes of another."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from paper_study.derived import Pose, derive_series, errors_of, nominal_poses
from paper_study.platinum import richest_depth, section
from paper_study.stages import Outcome, Row, Stage, finished_rows, run_stages, table

from dptt.config import Config
from dptt.io.dataset import TiltSeries
from dptt.io.dataset_writer import write_tilt_series
from dptt.io.series_data import SeriesHeader, TiltData
from dptt.io.truth import TrueTilt, Truth

RANDOM = np.random.default_rng(8)
ANGLES = (-30.0, 0.0, 20.0, 45.0)
POSITIONS = RANDOM.uniform(-3, 3, (6, 2))


@pytest.fixture
def series(tmp_path):
    """Path of a series of four tilts, displaced by known amounts."""
    tilts = [
        TiltData(RANDOM.poisson(3.0, (6, 5, 7)).astype(np.uint8), POSITIONS, (0.0, angle, 0.0)) for angle in ANGLES
    ]
    true = tuple(TrueTilt(f"{i:04d}", (0.0, a, 0.0), (0.5 * i, -1.0 * i)) for i, a in enumerate(ANGLES))
    truth = Truth(
        np.ones((3, 4, 5), np.float32), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.zeros((1, 3)), np.ones(1, int), true
    )
    write_tilt_series(tmp_path / "series.h5", SeriesHeader(200e3, 20.0, (2.0, 2.0)), tilts, truth)
    return tmp_path / "series.h5"


def test_a_finished_stage_is_done_again_only_for_another_configuration(tmp_path, capsys):
    done = []

    def work(config):
        done.append(config)
        return Outcome([Row("shift", "0.1 Å", "0.4 Å")], lambda: Figure(figsize=(1, 1)))

    stage = Stage("panel", "Figure 9z", work)
    config = Config(series=tmp_path / "s.h5", run=tmp_path / "small")
    run_stages([stage], config, None)
    run_stages([stage], config, tmp_path / "figures")
    assert len(done) == 1
    assert capsys.readouterr().out.count("| shift | 0.1 Å | 0.4 Å |") == 2
    assert (tmp_path / "figures" / "small_panel.png").read_bytes()[1:4] == b"PNG"
    run_stages([stage], config.model_copy(update={"series": tmp_path / "other.h5"}), None)
    assert len(done) == 2


def test_a_stage_that_fails_is_not_finished(tmp_path):
    config = Config(series=tmp_path / "s.h5", run=tmp_path)
    with pytest.raises(ZeroDivisionError):
        run_stages([Stage("panel", "Figure 9z", lambda _: 1 / 0)], config, None)  # type: ignore[arg-type]
    assert finished_rows(tmp_path / "study", Stage("panel", "", lambda _: Outcome([])), "") is None


def test_a_table_has_the_papers_number_last():
    assert table([Row("a", "1", "2"), Row("b", "3")]).splitlines()[2:] == ["| a | 1 | 2 |", "| b | 3 | - |"]


def test_a_narrower_series_has_the_inner_tilts_with_the_poses_that_were_found(series, tmp_path):
    found = {f"{i:04d}": Pose((0.1, angle, 0.0), (1.0 * i, 2.0)) for i, angle in enumerate(ANGLES)}
    derive_series(series, tmp_path / "narrow" / "series.h5", found, lambda theta: abs(theta) <= 30)
    with TiltSeries.open(tmp_path / "narrow" / "series.h5") as narrow, TiltSeries.open(series) as whole:
        assert [tilt.euler_angles for tilt in narrow.tilts] == [(0.1, angle, 0.0) for angle in ANGLES[:3]]
        assert [tilt.translation for tilt in narrow.tilts] == [(0.0, 2.0), (1.0, 2.0), (2.0, 2.0)]
        assert [tilt.translation for tilt in narrow.truth().tilts] == [(0.0, 0.0), (0.5, -1.0), (1.0, -2.0)]
        np.testing.assert_array_equal(narrow.tilts[2].read(slice(None)), whole.tilts[2].read(slice(None)))


def test_errors_of_poses_are_free_of_a_common_displacement(series):
    before = errors_of(nominal_poses(series), series)
    assert before.max_translation > 0.1
    with TiltSeries.open(series) as opened:
        true = {tilt.name: Pose(tilt.euler_angles, tilt.translation) for tilt in opened.truth().tilts}
    moved = {
        name: Pose(p.euler_angles, (p.translation[0] + 0.7, p.translation[1] + 0.3 * np.cos(np.radians(a))))
        for (name, p), a in zip(true.items(), ANGLES, strict=True)
    }  # a displacement d = (0, 0.7, 0.3)
    assert errors_of(moved, series).max_translation < 1e-9


def test_a_picture_shows_the_slice_and_the_atoms_in_it():
    volume = np.zeros((9, 31, 41))
    volume[6, 20, 15] = 4.0  # z = 0.8 Å; y = 2.0 Å, x = -1.75 Å
    atoms = np.array([[0.8, 2.0, -1.75], [-1.0, 0.0, 0.0]])
    picture = section(volume, (0.4, 0.4, 0.35), 0, 0.8, atoms, np.array([8, 78]))
    assert picture.values.max() > 0
    assert {z: places.tolist() for z, places in picture.atoms.items()} == {8: [[2.0, -1.75]]}
    across = section(volume, (0.4, 0.4, 0.35), 1, 2.0, atoms, np.array([8, 78]))
    assert {z: places.tolist() for z, places in across.atoms.items()} == {8: [[0.8, -1.75]]}
    assert across.pixel == (0.4, 0.35)


def test_the_slice_that_is_shown_holds_most_of_the_scarcest_element():
    positions = np.array([[0.0, 0, 0], [0.0, 1, 0], [3.0, 0, 0], [3.1, 1, 0], [3.0, 2, 0], [3.0, 3, 0], [6.0, 0, 0]])
    numbers = np.array([8, 8, 8, 78, 78, 8, 78])
    assert richest_depth(positions, numbers, 1.0) == pytest.approx(3.0, abs=0.11)
