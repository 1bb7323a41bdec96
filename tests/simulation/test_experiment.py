"""Errors of the experiment: each does what it says, is recorded, and leaves the others as they are."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from simulated import simulated_tilts

from dptt.simulation.acquisition import Acquisition, Exposure, Optics, Scan, TiltScheme
from dptt.simulation.diffraction import MultisliceSettings
from dptt.simulation.experiment import (
    ExperimentErrors,
    bad_pixels,
    beam_current,
    detected,
    draw_tilt_errors,
    scan_matrix,
    with_bad_pixels,
)
from dptt.simulation.specimen import Specimen

FAR_ATOM = Specimen(np.array([[0.0, 40.0, 40.0]]), np.array([6]), np.array([0.08]))
OPTICS = Optics(200e3, 12.0, (18, 15), (2.4, 2.4))
SCAN = Scan((4, 5), (1.5, 1.2))


def simulated(errors, scan=SCAN, angles=(0.0, 20.0)):
    acquisition = Acquisition(OPTICS, scan, TiltScheme(angles), Exposure(1e4, shot_noise=False), errors)
    return acquisition, simulated_tilts(FAR_ATOM, acquisition, MultisliceSettings(slice_thickness=4.0))


def centre_of_mass(patterns):
    ky, kx = (np.arange(n) - n // 2 for n in patterns.shape[1:])
    electrons = patterns.sum((1, 2))
    return np.stack([(patterns.sum(2) @ ky) / electrons, (patterns.sum(1) @ kx) / electrons], axis=1)


def test_without_sizes_a_series_is_that_of_the_paper():
    acquisition, (first, _) = simulated(ExperimentErrors())
    assert np.array_equal(first.true_positions, first.nominal_positions)
    assert first.patterns.std(0).max() < 1e-3 * first.patterns.max()
    assert acquisition.true_optics() == (OPTICS, OPTICS)


def test_a_scan_turns_as_its_option_and_is_stretched_before_it_is_sheared():
    turned = Scan((4, 5), (1.5, 1.2), rotation=3.0).nominal_positions()
    np.testing.assert_allclose(SCAN.nominal_positions() @ scan_matrix((0.0, 0.0), 3.0, 0.0).T, turned, atol=1e-12)
    assert scan_matrix((0.02, -0.01), 0.0, 0.05) == pytest.approx(np.array([[1.02, 0], [0.05 * 1.02, 0.99]]))


def test_true_positions_hold_scale_rotation_and_a_drift_of_the_whole_scan():
    sizes = ExperimentErrors(scan_scale=(2.0, -1.0), scan_rotation=1.0, drift=3.0)
    acquisition, (tilt, other) = simulated(sizes)
    errors = acquisition.errors_of(0)
    left = tilt.true_positions - tilt.nominal_positions @ scan_matrix((0.02, -0.01), 1.0, 0.0).T
    drift = np.array([errors.drift_y, errors.drift_x])
    assert np.linalg.norm(drift) == pytest.approx(3.0)
    np.testing.assert_allclose(left[0] - left[-1], drift, atol=1e-12)  # the specimen moves on, the probe falls behind
    assert errors.drift_bend != 0
    assert not np.allclose(tilt.true_positions, other.true_positions)


def test_descan_and_zero_angle_move_the_pattern_by_whole_and_broken_pixels():
    sizes = ExperimentErrors(descan=1.3, zero_angle=(0.4, -0.7))
    acquisition, (tilt, _) = simulated(sizes)
    shifts = acquisition.errors_of(0).pattern_shifts(SCAN.nominal_positions())
    np.testing.assert_allclose(centre_of_mass(tilt.patterns), shifts, atol=0.02)
    assert np.abs(shifts - [0.4, -0.7]).max() > 0.5


def test_every_error_has_random_numbers_of_its_own():
    one = draw_tilt_errors(ExperimentErrors(focus_spread=20.0, drift=1.0), 3, 10.0)
    two = draw_tilt_errors(ExperimentErrors(focus_spread=20.0, drift=1.0, scan_scale_spread=2.0, descan=1.0), 3, 10.0)
    assert (one.C10, one.drift_y, one.drift_bend) == (two.C10, two.drift_y, two.drift_bend)
    assert one.C10 != draw_tilt_errors(ExperimentErrors(focus_spread=20.0), 4, 10.0).C10
    assert abs(two.scan_scale_y) > 0 and two.values["C10"] == two.C10


def test_focus_astigmatism_and_dose_are_those_of_the_tilt():
    acquisition, (tilt, _) = simulated(ExperimentErrors(focus_spread=20.0, astigmatism=5.0, dose_spread=0.2))
    errors, lens = acquisition.errors_of(0), acquisition.true_optics()[0]
    assert lens.aberrations == {"C10": errors.C10, "C12": 5.0, "phi12": errors.phi12}
    _, (plain, _) = simulated(ExperimentErrors())
    assert tilt.patterns.sum() / plain.patterns.sum() == pytest.approx(errors.dose, rel=1e-3)


def test_blur_background_and_beam_current_belong_to_the_detector():
    patterns = np.zeros((300, 9, 11), np.float32)
    patterns[:, 4, 5] = 99.0
    sizes = ExperimentErrors(blur=0.6, background=0.1)
    blurred = detected(sizes, 2.0, patterns[:1], beam_current(sizes, 0))[0]
    one = np.zeros((9, 11))
    one[4, 5] = 198.0
    np.testing.assert_allclose(blurred, gaussian_filter(one, 0.6, mode="constant") + 0.2, atol=0.01)
    sizes = ExperimentErrors(current_spread=0.05)
    current = detected(sizes, 1.0, patterns, beam_current(sizes, 0)).sum((1, 2))
    assert current.std() / current.mean() == pytest.approx(0.05, rel=0.15)


def test_bad_pixels_are_dead_or_hot_in_every_pattern_and_differ_from_each_other():
    sizes = ExperimentErrors(dead_pixels=3, hot_pixels=2)
    dead, hot = bad_pixels(sizes, (9, 11))
    counts = with_bad_pixels(sizes, np.full((4, 9, 11), 60, np.uint8))
    assert len(np.unique(np.concatenate([dead, hot]), axis=0)) == 5
    assert (counts[:, dead[:, 0], dead[:, 1]] == 0).all()
    assert (counts[:, hot[:, 0], hot[:, 1]] == 300).all()
    assert (counts == 60).sum() == 4 * (99 - 5)


@pytest.mark.parametrize(("bend", "slowest"), [(0.0, 1.0), (0.25, 0.5), (0.5, 0.0), (-0.5, 0.0), (0.75, -0.5)])
def test_a_drift_stops_at_one_end_at_a_bend_of_a_half_and_turns_back_beyond_it(bend, slowest):
    errors = replace(draw_tilt_errors(ExperimentErrors(drift=1.0), 0, 10.0), drift_bend=bend)
    left = -errors.moved(np.zeros((2001, 2))) @ [errors.drift_y, errors.drift_x]
    assert left[-1] - left[0] == pytest.approx(1.0), "the whole drift is the same"
    speed = np.diff(left) * 2000
    assert speed.min() == pytest.approx(slowest, abs=2e-3)
    assert speed.argmin() in (0, len(speed) - 1) or bend == 0
