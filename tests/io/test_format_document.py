"""The document of the formats tells the truth."""

import re
from pathlib import Path

import numpy as np

from dptt.io.dataset import TiltSeries

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "format.md"


def test_the_example_in_the_document_writes_a_valid_tilt_series(tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    with TiltSeries.open("series.h5") as series:
        assert [tilt.euler_angles for tilt in series.tilts] == [(0.0, -60.0, 0.0), (0.0, 0.0, 0.0), (0.0, 60.0, 0.0)]
        tilt = series.tilts[0]
        assert (tilt.num_positions, tilt.detector_shape, tilt.dtype) == (30, (24, 20), np.uint16)
        assert tilt.aberrations["C10"] == -200.0
        np.testing.assert_allclose(tilt.scan_positions().mean(axis=0), 0.0, atol=1e-12)
