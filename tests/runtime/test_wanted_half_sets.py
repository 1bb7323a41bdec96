"""Whether a run makes half-sets by itself depends on whether there is a true potential, which need not be read."""

import numpy as np
import pytest

import dptt.io.dataset
from dptt.config import Config
from dptt.io.dataset_writer import write_tilt_series
from dptt.io.series_data import SeriesHeader, TiltData
from dptt.io.truth import Truth
from dptt.runtime.half_sets import wants_half_sets

ATOMS = np.zeros((2, 3))
TRUTHS = {
    "none": (None, True),
    "atoms only": (Truth(atom_positions=ATOMS), True),
    "a potential": (Truth(np.ones((3, 5, 4), np.float32), (1.0, 1.0, 1.0), atom_positions=ATOMS), False),
}


@pytest.mark.parametrize("kind", TRUTHS)
def test_half_sets_are_made_without_a_true_potential_which_is_not_read_to_know(tmp_path, monkeypatch, kind):
    truth, wanted = TRUTHS[kind]
    tilt = TiltData(np.ones((6, 4, 5), np.uint16), np.zeros((6, 2)), (0.0, 0.0, 0.0), (0.0, 0.0))
    config = Config(series=tmp_path / "series.h5", run=tmp_path / "run")
    write_tilt_series(config.series, SeriesHeader(300e3, 21.0, (2.0, 2.1)), [tilt], truth)
    monkeypatch.setattr(dptt.io.dataset, "read_truth", lambda group: pytest.fail("the whole truth is read"))
    assert wants_half_sets(config) is wanted
