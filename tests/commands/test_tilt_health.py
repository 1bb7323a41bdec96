"""The figures of a tilt's health mean what their names say."""

import html

import numpy as np
import pytest
from command_line import without_pictures

from dptt.io.volumes import read_volume
from dptt.logs import read_metrics
from dptt.runtime.health import calibration_sentences, drift, fluence


def raster(rows: int = 6, columns: int = 9, step: float = 0.7) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(-1, 2) * step


def test_a_steady_drift_is_its_way_from_first_to_last_pattern_and_jitter_is_none():
    nominal = raster(20, 30)
    time = np.linspace(0, 1, len(nominal))[:, None]
    jitter = 0.05 * np.random.default_rng(0).normal(size=nominal.shape)
    assert drift(nominal, nominal + time * [0.3, -0.4] + 7.0 + jitter) == pytest.approx(0.5, abs=0.03)
    assert drift(nominal, nominal + jitter) < 0.03


def test_fluence_is_electrons_over_the_area_of_a_scan_step():
    assert fluence(raster(step=0.5), 250.0) == pytest.approx(1000.0)


def test_every_tilt_of_a_result_has_its_health(dptt, tiny, tmp_path):
    ended = dptt("reconstruct", tiny / "tiny.yaml", f"run={tmp_path}", "reconstruction.epochs=3")
    assert ended.code == 0, ended.stderr
    assert "5 of 5 tilts at full weight" in ended.stderr
    for tilt in read_volume(tmp_path / "volume.h5").tilts.values():
        health = tilt.attributes
        assert health["weight"] == 1.0 and health["patterns_left_out"] == 0 and health["drift_A"] == 0.0
        assert health["fluence_e_A2"] == pytest.approx(1e5, rel=0.25), "scan steps of 0.7 and 0.8 Å"
        assert 0.3 < health["loss"] / health["shot_noise_loss"] < 5


@pytest.mark.thorough
def test_errors_and_verdicts_of_refined_poses_are_in_the_log_the_file_and_the_page(dptt, tiny, tmp_path):
    refined = ("reconstruction.angles=1", "reconstruction.translations=1", "reconstruction.validation_fraction=0.1")
    ended = dptt("reconstruct", tiny / "tiny.yaml", f"run={tmp_path}", "reconstruction.epochs=5", *refined)
    assert ended.code == 0, ended.stderr
    (epoch,) = [line for line in read_metrics(tmp_path / "metrics.jsonl") if line["verdicts"]]
    assert [verdict["group"] for verdict in epoch["verdicts"]] == ["phi", "theta", "psi", "translations"]
    for verdict in epoch["verdicts"]:
        assert verdict["sentence"] in ended.stderr
    tilts = read_volume(tmp_path / "volume.h5").tilts.values()
    for verdict in epoch["verdicts"][:3]:
        key = f"{verdict['group']}_error_deg"
        assert all((key in tilt.attributes) == verdict["kept"] for tilt in tilts)
        assert all(0 < tilt.attributes[key] < 0.5 for tilt in tilts if verdict["kept"])
    assert dptt("report", tmp_path, before=without_pictures).code == 0
    page = html.unescape((tmp_path / "report.html").read_text())
    assert all(verdict["sentence"] in page for verdict in epoch["verdicts"])


def test_a_refinement_that_begins_too_late_to_be_judged_is_warned_of(dptt, tiny, tmp_path):
    late = ("reconstruction.epochs=2", "reconstruction.angles=2")
    ended = dptt("reconstruct", tiny / "tiny.yaml", f"run={tmp_path}", *late)
    assert "angles are refined from epoch 2 of 2, too late to find out whether that helps" in ended.stderr


@pytest.mark.thorough
def test_what_a_calibration_found_is_part_of_the_health_and_a_killed_run_finds_the_same(dptt, tiny, tmp_path):
    choices = ["reconstruction.epochs=4", "reconstruction.calibration={from_epoch: 1, epochs: 3}"]
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    ended = dptt("reconstruct", tiny / "tiny.yaml", f"run={whole}", *choices)
    assert ended.code == 0, ended.stderr
    halfway = dptt("reconstruct", tiny / "tiny.yaml", f"run={halves}", "reconstruction.epochs=2", choices[1])
    assert halfway.code == 0, halfway.stderr
    resumed = dptt("reconstruct", tiny / "tiny.yaml", f"run={halves}", *choices)
    assert resumed.code == 0 and "resumed from" in resumed.stderr
    one, other = (read_volume(run / "volume.h5") for run in (whole, halves))
    assert np.array_equal(one.volume, other.volume)
    for tilt, again in zip(one.tilts.values(), other.tilts.values(), strict=True):
        health = tilt.attributes
        assert health["scan_rotation_deg_error"] > 0 and health["descan_yy_px_per_A_error"] > 0
        assert abs(health["scan_rotation_deg"]) < max(3 * health["scan_rotation_deg_error"], 0.5)
        for key in ("scan_rotation_deg", "descan_xy_px_per_A", "C10_change_A"):
            assert health[key] == again.attributes[key]
    scales = [tilt.attributes["scan_scale_percent"] for tilt in one.tilts.values()]
    assert abs(np.mean(scales)) <= 0.1 * np.ptp(scales), "the scale of all tilts together stays that of the file"


def test_the_log_says_what_a_calibration_found_if_it_found_something():
    tilt = {"weight": 1.0, "scan_rotation_deg": 1.0, "scan_rotation_deg_error": 0.1, "phi_error_deg": 0.2}
    other = tilt | {"scan_rotation_deg": 1.2, "scan_shear_percent": 0.0, "scan_shear_percent_error": 0.3}
    said = calibration_sentences({"a": tilt, "b": other}, 10.0)
    assert said == ["found scan_rotation_deg: 1 to 1.2, each ± 0.1 or less"]


def test_what_is_within_its_doubt_is_not_said_to_be_found():
    def found(measure: str, values: tuple[float, ...], error: float, reach: float = 10.0) -> bool:
        health = {str(i): {"weight": 1.0, measure: v, f"{measure}_error": error} for i, v in enumerate(values)}
        return bool(calibration_sentences(health, reach))

    assert found("blur_px", (0.4, 0.41), 0.01) and not found("blur_px", (0.1, 0.0), 0.1)
    assert found("C10_change_A", (5.0, -5.0), 1.0) and not found("C10_change_A", (2.0, -2.0), 1.0)
    assert found("C10_change_A", (2.0, 2.0, 2.0, 2.0), 1.0), "all tilts together are surer"
    assert not found("descan_yy_px_per_A", (-0.0016, -0.0013), 0.0001), "a particle looks like 0.016 pixels"
    assert found("descan_yy_px_per_A", (-0.0016, -0.0013), 0.0001, reach=100.0)
    assert found("background_percent", (1.0, 1.0), 0.0), "from an earlier step, which judged it"
