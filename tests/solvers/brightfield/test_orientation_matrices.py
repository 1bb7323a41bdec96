"""Scan and detector lie to each other as one orthogonal matrix, in the words of the importer."""

import numpy as np
import pytest
import torch

from dptt.io.importers.description import Detector, RasterScan
from dptt.io.importers.detector_frame import detector_frame
from dptt.io.importers.scan_frame import raster_positions
from dptt.solvers.brightfield.orientation import Orientation, detector_matrix, orientation_of, wrapped


def test_the_rotation_is_that_of_the_importer():
    listed = raster_positions(RasterScan((0.7, 0.4), 33.0, (0.0, 0.0)), (3, 4))
    raster = raster_positions(RasterScan((0.7, 0.4), 0.0, (0.0, 0.0)), (3, 4))
    np.testing.assert_allclose(raster @ Orientation(33.0, False).matrix().numpy().T, listed)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("angle", [-170.0, -90.0, 0.0, 45.0, 180.0])
def test_rotation_and_parity_are_read_back_from_the_matrix(angle, transposed):
    found = orientation_of(Orientation(angle, transposed).matrix())
    assert found.transposed == transposed
    assert abs(wrapped(found.rotation - angle)) < 1e-9


@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("transpose", [False, True])
def test_the_detector_matrix_is_what_the_importer_does_to_a_pattern(transpose, flips):
    """A spot at the angle (1, 2) from the centre is moved as D says."""
    pattern = np.zeros((1, 9, 9))
    pattern[0, 4 + 1, 4 + 2] = 1
    foreign = pattern.transpose(0, 2, 1) if transpose else pattern
    frame = detector_frame(Detector((1.0, 1.0), flip_y=flips[0], flip_x=flips[1]), (9, 9))
    moved = np.argwhere(frame.apply(foreign)[0])[0] - 4
    expected = detector_matrix(transpose, *flips) @ torch.tensor([1.0, 2.0], dtype=torch.float64)
    np.testing.assert_allclose(moved, expected.numpy())
