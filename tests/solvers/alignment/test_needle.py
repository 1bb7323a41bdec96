"""The NIST needle: an experimental HAADF series with drifts up to 39 pixels, against the published shifts."""

import h5py
import numpy as np
import pytest
from solver_settings import alignment_settings

from dptt.distributed.comm import SerialCommunicator
from dptt.solvers.alignment import TiltPoses, align, flatten_background, whole_images


@pytest.fixture(scope="module")
def needle(shared_data) -> tuple:
    """Raw images (tilt, y, x), angles [degrees], and published shifts (y, x) [pixels]."""
    with h5py.File(shared_data / "nist_needle_haadf_exp" / "needle_tilt_series.h5") as file:
        raw = file["raw_int16"][()].astype(np.float32)
        return raw, file["tilt_deg"][()].astype(float), file["published_shifts_px_yx"][()]


@pytest.mark.thorough
def test_raw_images_are_aligned_to_the_published_shifts_within_a_pixel_and_a_half(needle):
    """The displacement of the specimen, the offset and the turn of the axis are free between two alignments."""
    raw, angles, published = needle
    values, _ = flatten_background(raw, np.ones_like(raw))
    images = whole_images(values, np.ones_like(values), (1.0, 1.0))
    nominal = TiltPoses(np.column_stack([0 * angles, angles, 0 * angles + 90]), np.zeros((len(angles), 2)))
    settings = alignment_settings(binnings=(8,), final_binning=8, angles_from=0, translation_iterations=5)
    result = align(images, nominal, settings, SerialCommunicator())
    difference = result.poses.translations + published
    theta = np.deg2rad(angles)
    free = np.zeros((len(angles), 2, 5))
    free[:, 0, 0] = free[:, 1, 1] = 1
    free[:, 0, 2], free[:, 0, 3] = np.cos(theta), np.sin(theta)
    free[:, 0, 4], free[:, 1, 4] = published[:, 1], -published[:, 0]
    left, *_ = np.linalg.lstsq(free.reshape(-1, 5), difference.ravel(), rcond=None)
    residual = np.linalg.norm(difference - free @ left, axis=1)
    assert np.median(residual) < 0.6
    assert residual.max() < 2.0
