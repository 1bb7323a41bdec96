"""The shipped simulated runs reach what `docs/results.md` reports."""

import json
from pathlib import Path

import pytest

from dptt.cli import main

CONFIGS = Path(__file__).resolve().parents[2] / "jobs" / "configs"


@pytest.fixture
def analysis_of(tmp_path, monkeypatch):
    """Simulate, reconstruct and analyze a shipped configuration in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, folder: str) -> dict:
        for command in ("simulate", "validate", "reconstruct", "analyze"):
            assert main([command, str(CONFIGS / name)]) == 0
        return json.loads((tmp_path / "runs" / folder / "analysis.json").read_text())

    return run


@pytest.mark.thorough
@pytest.mark.slow
def test_the_quickstart_finds_every_atom_of_three_elements_and_no_other(analysis_of):
    analysis = analysis_of("00_minimal.yaml", "minimal")
    assert analysis["resolution"]["0.5"]["resolution_A"] <= 1.1
    assert all(direction["resolution_A"] <= 1.3 for direction in analysis["directional_fsc"])
    assert analysis["correlation"] >= 0.9
    assert not analysis.get("preferences"), "all is as it should be, also a few degrees from the zone axis at 45°"
    match = analysis["atoms"]["match"]
    assert (match["num_true"], match["recall"], match["precision"]) == (141, 1.0, 1.0)
    assert match["rmsd_A"] <= 0.06


@pytest.mark.thorough
@pytest.mark.slow
def test_angles_and_translations_of_an_unaligned_series_are_found_inside_the_loop(analysis_of):
    analysis = analysis_of("02_pose_errors.yaml", "poses")
    poses = analysis["poses"]
    assert poses["nominal_median_angle_error_deg"] > 0.4
    assert poses["nominal_median_translation_error_A"] > 0.2
    assert poses["median_angle_error_deg"] < 0.11
    assert poses["median_translation_error_A"] < 0.02
    match = analysis["atoms"]["match"]
    assert (match["recall"], match["precision"]) == (1.0, 1.0)
    assert match["rmsd_A"] <= 0.04
