"""With `vacuum` the written volume has its constant from the vacuum, and the checkpoint is that of the loop."""

import json

import numpy as np
import pytest

from dptt.cli import main
from dptt.io.checkpoint import load_checkpoint
from dptt.io.volumes import read_volume


@pytest.mark.thorough
def test_the_total_is_written_told_and_found_again_from_the_checkpoint(tmp_path, caplog):
    (tmp_path / "one.xyz").write_text("2\natoms\nAu 0 0 0.9\nAu 0 0 -0.9\n")
    (tmp_path / "config.yaml").write_text(f"""
series: {tmp_path}/series.h5
run: {tmp_path}/run
simulation:
  specimen: {{kind: file, path: {tmp_path}/one.xyz}}
  microscope: {{energy: 300e3, semiangle_cutoff: 21.0, aberrations: {{defocus: 40.0}}, detector_shape: [18, 18],
               largest_angle: 24.0}}
  scan: {{shape: [9, 9], step: 0.9}}
  tilts: {{angles: [-40, 0, 40]}}
  fluence: 1.0e6
volume: {{thickness: 8.0}}
reconstruction: {{epochs: 3, regularisation: {{vacuum: true}}}}
""")
    config = str(tmp_path / "config.yaml")
    assert main(["simulate", config]) == main(["reconstruct", config]) == 0
    result, loop = (
        read_volume(tmp_path / "run/volume.h5"),
        load_checkpoint(tmp_path / "run/checkpoint.h5")[0]["volume"],
    )
    total = result.volume.real.sum(dtype=np.float64) * np.prod(result.voxel_size)
    assert abs(result.attributes["total_potential_V_A3"] / total - 1) < 1e-3
    assert result.attributes["total_potential_error"] > 0
    moved = result.volume.real - loop.real
    assert np.ptp(moved) > 0 and abs(moved[:, 0].std()) < 1e-3 * abs(result.volume.real).max(), "a constant outside"
    assert "were taken off everywhere" in (tmp_path / "run/run.log").read_text() + caplog.text
    assert main(["reconstruct", config]) == 0
    np.testing.assert_array_equal(read_volume(tmp_path / "run/volume.h5").volume, result.volume)
    assert main(["analyze", config]) == 0
    analysis = json.loads((tmp_path / "run/analysis.json").read_text())
    assert analysis["total_potential_V_A3"] == result.attributes["total_potential_V_A3"]
    assert "below the truth" in analysis["volts"]
