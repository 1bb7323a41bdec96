"""The file's calibration is kept unless the data contradict it; the pose turns with the scan."""

import numpy as np
import pytest
import torch
from weak_object import turn

from dptt.physics.rotation import rotation_matrix
from dptt.solvers.brightfield import MeasuredOptics, Orientation, calibrated, orientation_of

FOUND = {"C10": -1000.0, "C12": 40.0, "phi12": 10.0}


def use(file=("C10", -1000.0), rotation=30.0, depth=0.0):
    there, found = Orientation(rotation, False), Orientation(30.5, False)
    measured = MeasuredOptics(found, 0.1, FOUND, 5.0)
    return calibrated(there, dict([file]), measured, depth_of_field=depth)


def test_what_agrees_is_kept():
    kept = use()
    assert kept.matrix == ((1.0, 0.0), (0.0, 1.0)) and kept.aberrations == {"C10": -1000.0}
    assert "kept" in kept.sentence


def test_a_defocus_that_the_data_contradict_is_replaced_but_not_within_the_depth_of_field():
    assert use(("C10", -800.0)).aberrations == pytest.approx(FOUND)
    assert use(("C10", -800.0), depth=1000.0).aberrations == {"C10": -800.0}


def test_a_scan_that_is_told_turned_by_180_degrees_and_overfocused_is_corrected():
    turned = use(("C10", 1000.0), rotation=-150.0)
    np.testing.assert_allclose(turned.matrix, turn(180.5), atol=1e-9)
    assert turned.aberrations == pytest.approx(FOUND)


def test_without_a_defocus_in_the_file_the_estimate_is_taken():
    assert use(("C10", 0.0), rotation=-90.0).aberrations == pytest.approx(FOUND)


@pytest.mark.parametrize("true", [Orientation(64.0, False), Orientation(-20.0, True)])
def test_a_series_described_in_a_turned_or_mirrored_frame_is_the_same_specimen(true):
    """Atoms r in the pose of the detector frame, seen from the frame of the file, and turned back."""
    there = Orientation(10.0, False)
    positions = torch.randn(6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    to_file = there.matrix() @ true.matrix().T  # of (y, x)
    mirror = torch.diag(torch.tensor([1.0, -1.0 if true.transposed else 1.0, 1.0], dtype=torch.float64))
    correction = calibrated(there, {}, MeasuredOptics(true, 0.1, {}, 1.0))
    assert correction.mirrored == true.transposed
    torch.testing.assert_close(correction.positions(positions @ to_file.T), positions)
    in_file, tau_file = (3.0, 40.0, 12.0), (1.5, -2.0)
    euler, tau = correction.pose(in_file, tau_file)
    turned = torch.eye(3, dtype=torch.float64)  # N3 on (x, y, z)
    turned[:2, :2] = torch.tensor(correction.matrix, dtype=torch.float64).flip(0, 1)
    old = rotation_matrix(torch.tensor(in_file, dtype=torch.float64))
    new = rotation_matrix(torch.tensor(euler, dtype=torch.float64))
    torch.testing.assert_close(new @ mirror, turned @ old)
    np.testing.assert_allclose(tau, np.array(correction.matrix) @ tau_file)


def test_a_matrix_is_orthogonal_of_either_parity():
    changed = calibrated(Orientation(0.0, False), {}, MeasuredOptics(Orientation(50.0, True), 0.1, {}, 1.0))
    assert orientation_of(torch.tensor(changed.matrix, dtype=torch.float64)).transposed
