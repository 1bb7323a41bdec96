"""The report shows a run that used only a part of its series."""

import numpy as np

from dptt.config import load_config
from dptt.io.dataset import TiltSeries
from dptt.io.volumes import ReconstructedTilt, ReconstructedVolume
from dptt.showing.content import report_content


def test_scan_corrections_are_those_of_tilts_that_took_part(tiny, tmp_path):
    config = load_config(tiny / "tiny.yaml", ["reconstruction.positions.from_epoch=1"])
    with TiltSeries.open(config.series) as series:
        truth, checksum = series.truth(), series.checksum()
        tilts = {
            tilt.name: ReconstructedTilt(
                euler_angles=tilt.euler_angles,
                translation=tilt.translation,
                scan_positions=tilt.scan_positions() + 0.1,
            )
            for tilt in series.tilts[1:]  # the first tilt of the series was excluded
        }
    result = ReconstructedVolume(
        volume=truth.volume.astype(np.float32),
        voxel_size=truth.voxel_size,
        origin=(0.0, 0.0, 0.0),
        attributes={"series_checksum": checksum},
        tilts=tilts,
    )
    content = report_content(tmp_path, result, config)
    assert [positions.name for positions in content.scan_positions] == ["0001", "0003", "0004"]
    np.testing.assert_allclose(content.scan_positions[0].refined - content.scan_positions[0].initial, 0.1)
