"""The result of the bright field is read back as it was written, and a ruin or another file is refused."""

import h5py
import numpy as np
import pytest

from dptt.io.brightfield import (
    TILT_ARRAYS,
    TILT_NUMBERS,
    CalibrationError,
    SeriesCalibration,
    TiltCalibration,
    read_calibration,
    write_calibration,
)

RANDOM = np.random.default_rng(2)
TILT = TiltCalibration(
    aberrations={"C10": -130.5, "C12": 4.0, "phi12": -70.0},
    numbers={name: float(number) for number, name in enumerate(TILT_NUMBERS)},
    method="parallax",
    reason="the scan is coarse",
    arrays={name: RANDOM.normal(size=(5, 2)) for name in TILT_ARRAYS},
)
RESULT = SeriesCalibration(
    rotation=-120.5,
    transposed=True,
    rotation_uncertainty=0.1,
    sign_significance=2.5,
    trusted=True,
    findings=("one thing", "another ± 1°"),
    evidence={"rotation": np.array([-120.5, 59.5]), "transpose": np.array([True, False])},
    tilts={"0000": TILT, "0003": TILT},
    attributes={"identity": "abc", "command": "dptt brightfield"},
)


def test_a_result_comes_back_as_it_was_written(tmp_path):
    write_calibration(tmp_path / "brightfield.h5", RESULT)
    back = read_calibration(tmp_path / "brightfield.h5")
    for name in ("rotation", "transposed", "rotation_uncertainty", "sign_significance", "trusted", "findings"):
        assert getattr(back, name) == getattr(RESULT, name)
    assert back.attributes == RESULT.attributes
    assert list(back.tilts) == ["0000", "0003"]
    assert (back.tilts["0003"].aberrations, back.tilts["0003"].numbers) == (TILT.aberrations, TILT.numbers)
    assert (back.tilts["0003"].method, back.tilts["0003"].reason) == (TILT.method, TILT.reason)
    np.testing.assert_equal(dict(back.tilts["0003"].arrays), dict(TILT.arrays))
    np.testing.assert_equal(dict(back.evidence), dict(RESULT.evidence))


def test_what_is_missing_is_said_and_how_to_get_it(tmp_path):
    write_calibration(tmp_path / "brightfield.h5", RESULT)
    with h5py.File(tmp_path / "brightfield.h5", "r+") as file:
        del file["tilts/0003/image"]
    with pytest.raises(CalibrationError, match="tilts/0003/image cannot be read .* run `dptt brightfield` again"):
        read_calibration(tmp_path / "brightfield.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["format"] = "dptt-volume"
    with pytest.raises(CalibrationError, match="expected 'dptt-brightfield'"):
        read_calibration(tmp_path / "other.h5")
    with pytest.raises(CalibrationError, match="no such file"):
        read_calibration(tmp_path / "none.h5")
