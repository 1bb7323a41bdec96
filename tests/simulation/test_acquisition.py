import math
from dataclasses import replace

import numpy as np
import pytest

from dptt.simulation.acquisition import (
    Exposure,
    Optics,
    Scan,
    TiltScheme,
    angular_sampling_of,
    tilt_range,
)
from dptt.simulation.random_numbers import RANDOM_PURPOSES, random_stream

OPTICS = {"energy": 300e3, "semiangle_cutoff": 25.0, "detector_shape": (40, 48), "angular_sampling": (2.0, 1.5)}


def test_the_window_is_the_wavelength_over_the_angular_sampling():
    optics = Optics(**OPTICS)
    assert optics.window == pytest.approx((0.0196875 / 2e-3, 0.0196875 / 1.5e-3), rel=1e-4)
    assert optics.sampling == pytest.approx((optics.window[0] / 40, optics.window[1] / 48))


def test_a_detector_may_be_given_by_its_largest_angle():
    assert angular_sampling_of(60.0, (40, 48)) == (3.0, 3.0)


def test_a_raster_turns_from_x_towards_y_about_its_central_position():
    scan = Scan((3, 4), (2.0, 0.5), rotation=30.0)
    positions = scan.nominal_positions().reshape(3, 4, 2)
    np.testing.assert_allclose(positions[1, 2], 0, atol=1e-15)
    cos, sin = math.cos(math.pi / 6), math.sin(math.pi / 6)
    np.testing.assert_allclose(positions[2, 2], [2 * cos, 2 * sin])
    np.testing.assert_allclose(positions[1, 3], [-0.5 * sin, 0.5 * cos])


def test_jitter_has_its_size_and_its_seed_and_differs_between_tilts():
    scan = Scan((50, 60), (0.5, 0.5), jitter=0.2, seed=7)
    errors = [scan.true_positions(tilt) - scan.nominal_positions() for tilt in (0, 0, 1)]
    assert errors[0].std(0) == pytest.approx([0.2, 0.2], rel=0.05)
    np.testing.assert_array_equal(errors[0], errors[1])
    assert np.abs(errors[0] - errors[2]).max() > 0.1


def test_drift_is_uniform_in_time_and_zero_in_the_middle():
    scan = Scan((5, 3), (1.0, 1.0), drift=(0.7, -1.4))
    errors = scan.true_positions(0) - scan.nominal_positions()
    np.testing.assert_allclose(errors[0], [0.35, -0.7])
    np.testing.assert_allclose(errors[-1] - errors[0], [-0.7, 1.4])
    np.testing.assert_allclose(np.diff(errors, axis=0) - (errors[1] - errors[0]), 0, atol=1e-12)
    np.testing.assert_allclose(errors.mean(0), 0, atol=1e-12)


def test_true_poses_differ_from_nominal_ones_within_their_bounds():
    scheme = TiltScheme(tilt_range(-60.0, 60.0, 1.0), angle_errors=(0.5, 0.2, 1.0), translation_error=3.0, seed=2)
    nominal, true = scheme.nominal_poses(), scheme.true_poses()
    assert nominal[0].euler_angles == (0, -60, 0) and nominal[0].translation == (0, 0)
    errors = np.array([np.subtract(t.euler_angles, n.euler_angles) for t, n in zip(true, nominal, strict=True)])
    largest = np.abs(errors).max(0)
    assert (largest <= [0.5, 0.2, 1.0]).all() and (largest > [0.4, 0.16, 0.8]).all()
    shifts = np.abs([t.translation for t in true])
    assert shifts.max() <= 3.0 and shifts.max() > 2.4
    assert true == replace(scheme, seed=2).true_poses()
    assert true != replace(scheme, seed=3).true_poses()


def test_a_range_of_tilts_holds_both_ends():
    assert tilt_range(-56.0, 56.0, 8.0) == tuple(range(-56, 57, 8))
    assert tilt_range(10.0, -11.0, -10.0) == (10, 0, -10)
    with pytest.raises(ValueError, match="no tilt angles from 0.0 to 10.0 in steps of -1.0"):
        tilt_range(0.0, 10.0, -1.0)


def test_counts_are_poisson_of_the_intensities_in_the_smallest_type():
    exposure = Exposure(fluence=1e4, seed=1)
    expected = np.full((400, 20, 25), 3.7, dtype=np.float32)
    counts = exposure.count(expected, 0)
    assert counts.dtype == np.uint8
    assert counts.mean() == pytest.approx(3.7, rel=0.01)
    assert counts.var() == pytest.approx(3.7, rel=0.02)
    np.testing.assert_array_equal(counts, exposure.count(expected, 0))
    assert (counts != exposure.count(expected, 1)).any()
    assert exposure.count(300 * expected, 0).dtype == np.uint16
    assert exposure.count(0 * expected, 0).max() == 0


def test_electrons_per_pattern_are_those_that_fall_on_its_step():
    assert Exposure(1000.0).electrons_per_pattern(Scan((2, 3), (0.5, 0.4))) == pytest.approx(200.0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Optics(**{**OPTICS, "energy": -1.0}), "energy is -1.0; expected positive, in eV"),
        (lambda: Optics(**{**OPTICS, "angular_sampling": (1.0, 0.0)}), "angular_sampling is 0.0"),
        (lambda: Optics(**OPTICS, source_size=-0.1), "source_size is -0.1; expected zero or more, in Å"),
        (lambda: Optics(**OPTICS, aberrations={"C11": 1.0}), r"unknown aberrations \['C11'\]"),
        (lambda: Scan((3, 0), (1.0, 1.0)), "scan shape is 0"),
        (lambda: Scan((3, 3), (1.0, 1.0), jitter=-1.0), "jitter is -1.0"),
        (lambda: TiltScheme(()), "has no angles"),
        (lambda: TiltScheme((0.0,), translation_error=-1.0), "translation_error is -1.0"),
        (lambda: Exposure(0.0), "fluence is 0.0"),
    ],
)
def test_what_no_microscope_can_do_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_one_seed_for_everything_still_gives_independent_errors():
    draws = [random_stream(purpose, 3).normal(size=4) for purpose in RANDOM_PURPOSES]
    assert len(np.unique(draws)) == 4 * len(RANDOM_PURPOSES)
