"""The page of a run that is not finished, and the patterns that a volume predicts."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from dptt.assembly.modelled_patterns import TiltModel
from dptt.assembly.problem import plan_series_geometry
from dptt.cli import main
from dptt.config import load_config
from dptt.io.dataset import TiltSeries
from dptt.model.forward import model_intensity
from dptt.report import page as page_module
from dptt.showing.content import report_content
from dptt.showing.latest import latest_epoch, run_config, unfinished_volume
from dptt.showing.live import LiveRun
from dptt.showing.patterns import binned, spread


@pytest.fixture(scope="module")
def interrupted(tiny, tmp_path_factory):
    """A run of two epochs that ended before its volume was written."""
    run = tmp_path_factory.mktemp("interrupted") / "run"
    assert main(["reconstruct", str(tiny / "tiny.yaml"), f"run={run}", "reconstruction.epochs=2"]) == 0
    (run / "volume.h5").unlink()
    return run


@pytest.fixture(scope="module")
def content(interrupted):
    return report_content(interrupted, None, run_config(interrupted))


def test_an_unfinished_run_has_a_page(interrupted, monkeypatch):
    monkeypatch.setattr(page_module, "sections", lambda content: [])  # figures take long, and have their own tests
    assert main(["report", str(interrupted)]) == 0
    page = (interrupted / "report.html").read_text("utf-8")
    data = json.loads(re.search(r'id="dptt-data">(.*?)</script>', page, re.DOTALL)[1])
    assert {"slices", "space", "patterns"} <= set(data)
    assert "This reconstruction is not finished" in page and not (interrupted / "volume.mrc").exists()


def test_its_volume_is_that_of_the_checkpoint(interrupted, content):
    with TiltSeries.open(run_config(interrupted).series) as series:
        volume = unfinished_volume(interrupted, run_config(interrupted), series)
    np.testing.assert_array_equal(content.volume, volume.volume)
    assert volume.attributes["epoch"] == latest_epoch(interrupted) == 2
    live = LiveRun(interrupted)
    assert live.volume()["epoch"] == 2 and live.state()["thetas"] == [-50, -20, 5, 35, 60]


DESCAN = {
    "descan_yy_px_per_A": 0.3,
    "descan_yx_px_per_A": -0.1,
    "descan_xy_px_per_A": 0.2,
    "descan_xx_px_per_A": -0.4,
    "zero_angle_y_px": 0.25,
    "zero_angle_x_px": -0.5,
}


@pytest.mark.parametrize("found", [{}, DESCAN], ids=["nominal", "descan"])
def test_the_modelled_patterns_are_those_of_the_reference(interrupted, found):
    config = run_config(interrupted)
    with TiltSeries.open(config.series) as series:
        result = unfinished_volume(interrupted, config, series)
        geometry = plan_series_geometry(config, series)
        tilt = replace(result.tilts["0001"], attributes=found)
        model = TiltModel.of(result.volume, tilt, None, geometry)
    chosen = np.array([0, 17, 41])
    positions = tilt.scan_positions[chosen]
    shifts = positions @ np.array([[0.3, 0.2], [-0.1, -0.4]]) + (0.25, -0.5) if found else 0 * positions
    expected = model_intensity(
        torch.from_numpy(result.volume),
        model.probe,
        torch.from_numpy(positions),
        torch.tensor(tilt.euler_angles, dtype=torch.float64),
        torch.tensor(tilt.translation, dtype=torch.float64),
        geometry,
        torch.from_numpy(shifts),
    )
    torch.testing.assert_close(model.intensities(chosen), expected.float(), rtol=2e-3, atol=1e-3)


def test_measured_and_modelled_patterns_are_of_the_same_positions(interrupted, content):
    with TiltSeries.open(run_config(interrupted).series) as series:
        tilts = {tilt.name: tilt for tilt in series.tilts}
        for shown in content.diffraction.tilts:
            raw = tilts[shown.name].read(shown.sampled) / tilts[shown.name].counts_per_electron
            np.testing.assert_allclose(shown.measured, raw, rtol=1e-6)
            pairs = zip(shown.measured, shown.modelled, strict=True)
            against = [np.corrcoef(measured.ravel(), modelled.ravel())[0, 1] for measured, modelled in pairs]
            assert min(against) > 0.9, "a pattern beside that of another position, or turned about, is less alike"
            assert 0.5 < np.median(shown.maps["figure of fit"].values) < 10
    thetas = [tilt.theta for tilt in content.diffraction.tilts]
    assert thetas == sorted(thetas)


def test_a_series_alone_shows_what_was_measured(tiny, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    config = load_config(tiny / "tiny.yaml", [f"run={run}"])
    content = report_content(run, None, config)
    assert content.volume is None and content.diffraction.tilts[0].modelled is None
    assert set(content.diffraction.tilts[0].maps) == {"bright field", "dark field"}
    assert "There is no volume yet" in content.next_steps[0]


def test_a_folder_without_results_is_refused(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) != 0
    assert "the folder holds no result" in capsys.readouterr().err


def test_two_runs_are_compared_at_one_point(interrupted, tmp_path):
    output = tmp_path / "comparison.html"
    assert main(["compare", str(interrupted), str(interrupted), "--output", str(output)]) == 0
    page = output.read_text("utf-8")
    data = json.loads(re.search(r'id="dptt-data">(.*?)</script>', page, re.DOTALL)[1])
    assert len(data["slices"]["layers"]) == 2 and data["slices"]["difference"]
    assert [curve["x"] for curve in data["charts"][0]["curves"]] == [[1, 2]] * 4
    assert main(["compare", str(interrupted)]) != 0


def test_the_log_of_a_run_is_kept_with_times(interrupted):
    lines = (interrupted / "run.log").read_text("utf-8").splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  == dptt reconstruct", lines[0])
    assert sum("epoch 00" in line for line in lines) == 2


def test_positions_are_spread_over_a_raster_and_along_a_list():
    np.testing.assert_array_equal(spread(20, (4, 5), 6), [6, 8, 16, 18])
    np.testing.assert_array_equal(spread(20, (4, 5), 20), np.arange(20))
    np.testing.assert_array_equal(spread(9, None, 3), [0, 4, 8])


@pytest.mark.parametrize("shape", [(12, 12), (13, 15), (14, 9)])
@pytest.mark.parametrize("binning", [2, 3])
def test_binning_keeps_the_zero_angle_in_the_middle(shape, binning):
    pattern = np.zeros((1, *shape), dtype=np.float32)
    pattern[0, shape[0] // 2, shape[1] // 2] = 7
    result = binned(pattern, binning)
    assert result.shape == (1, shape[0] // binning, shape[1] // binning)
    assert result[0, result.shape[1] // 2, result.shape[2] // 2] == 7 == result.sum()
