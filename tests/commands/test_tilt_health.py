"""The figures of a tilt's health mean what their names say."""

import numpy as np
import pytest

from dptt.io.volumes import read_volume
from dptt.runtime.health import drift, fluence


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
