"""What the microscope reports instead of the truth: focus, aberrations, scan rotation."""

from dataclasses import replace

import numpy as np
import pytest
from simulated import simulated_tilts

from dptt.assembly.simulation import (
    build_scan,
    build_simulator,
    build_specimen,
    series_header,
    simulated_truth,
    tilt_data,
)
from dptt.config.simulation import SimulationConfig
from dptt.simulation.acquisition import Acquisition, Exposure, Optics, Scan, TiltScheme
from dptt.simulation.diffraction import MultisliceSettings
from dptt.simulation.random_numbers import random_stream
from dptt.simulation.specimen import Specimen

OPTICS = Optics(300e3, 20.0, (24, 29), (3.0, 2.6), aberrations={"C10": -50.0, "C30": 1e4})
SETTINGS = MultisliceSettings(slice_thickness=1.5, oversampling=1.5)
PAIR = Specimen(np.array([[0.0, 0.3, 1.0], [1.0, -1.0, -1.2]]), np.array([79, 6]), np.zeros(2))
CHOICES = {
    "specimen": {"kind": "nanoparticle", "element": "Au", "diameter": 5.0},
    "microscope": {
        "energy": 300e3,
        "semiangle_cutoff": 20.0,
        "aberrations": {"defocus": 50.0},
        "detector_shape": [20, 20],
        "largest_angle": 24.0,
    },
    "scan": {"shape": [2, 3], "step": 1.5, "rotation": 12.0},
    "tilts": {"angles": [-10.0, 5.0]},
    "fluence": 1e4,
}


def choice(**changes) -> SimulationConfig:
    return SimulationConfig(
        **{n: {**part, **changes.get(n, {})} if isinstance(part, dict) else part for n, part in CHOICES.items()}
    )


def defocus(optics: Optics) -> float:
    return -optics.aberrations["C10"]


def test_every_tilt_has_its_own_true_defocus_within_the_bounds():
    angles = tuple(float(a) for a in range(-50, 51))
    errors = np.array([defocus(o) - 50.0 for o in TiltScheme(angles, defocus_error=30.0, seed=2).true_optics(OPTICS)])
    assert 27.0 < np.abs(errors).max() <= 30.0
    assert len(np.unique(errors)) == len(angles)
    again = TiltScheme(angles, defocus_error=30.0, seed=2).true_optics(OPTICS)
    np.testing.assert_array_equal(errors, [defocus(o) - 50.0 for o in again])
    assert all(o.aberrations["C30"] == 1e4 for o in again)
    with pytest.raises(ValueError, match="defocus_error is -1.0"):
        TiltScheme(angles, defocus_error=-1.0)


def test_without_a_defocus_error_optics_and_poses_are_what_they_were():
    scheme = TiltScheme((-20.0, 30.0), angle_errors=(1.0, 1.0, 1.0), translation_error=2.0, seed=7)
    defocused = replace(scheme, defocus_error=25.0)
    assert all(optics is OPTICS for optics in scheme.true_optics(OPTICS))
    assert scheme.true_poses() == defocused.true_poses()


def test_the_random_streams_of_earlier_series_give_the_same_numbers():
    drawn = [random_stream(purpose, 3).random() for purpose in ("pose", "jitter", "shot noise", "frozen phonons")]
    pinned = [0.01406863877696618, 0.3514469202955248, 0.10279961496481804, 0.663922270112271]
    np.testing.assert_allclose(drawn, pinned, rtol=1e-12)


def test_patterns_are_those_of_the_true_defocus():
    scan, exposure = Scan((2, 3), (0.8, 0.9)), Exposure(1e4, shot_noise=False)
    scheme = TiltScheme((0.0, 0.0), defocus_error=40.0, seed=5)
    tilts = simulated_tilts(PAIR, Acquisition(OPTICS, scan, scheme, exposure), SETTINGS)
    for tilt, optics in zip(tilts, scheme.true_optics(OPTICS), strict=True):
        (alone,) = simulated_tilts(PAIR, Acquisition(optics, scan, TiltScheme((0.0,)), exposure), SETTINGS)
        np.testing.assert_allclose(tilt.patterns, alone.patterns, rtol=1e-5, atol=1e-6)
    difference = np.abs(tilts[0].patterns - tilts[1].patterns).sum() / tilts[0].patterns.sum()
    assert difference > 0.02


def test_the_reported_rotation_turns_the_file_and_not_the_probe():
    true = Scan((4, 5), (0.6, 0.7), rotation=12.0, jitter=0.1, seed=3)
    scan = Scan((4, 5), (0.6, 0.7), rotation=12.0, jitter=0.1, seed=3, reported_rotation=-30.0)
    np.testing.assert_array_equal(scan.true_positions(1), true.true_positions(1))
    np.testing.assert_array_equal(
        scan.nominal_positions(), Scan((4, 5), (0.6, 0.7), rotation=-30.0).nominal_positions()
    )


def test_the_file_holds_the_reported_values_and_the_patterns_of_the_true_ones():
    raw = choice(microscope={"reported_aberrations": {"defocus": 80.0}}, scan={"reported_rotation": 0.0})
    specimen = build_specimen(raw.specimen)
    honest = choice()
    assert series_header(raw, "", "", "").aberrations == {"C10": -80.0}
    assert series_header(honest, "", "", "").aberrations == {"C10": -50.0}
    for index in range(2):
        tilt, true = (tilt_data(build_simulator(c, specimen).tilt(index), c.scan.shape) for c in (raw, honest))
        np.testing.assert_array_equal(tilt.patterns, true.patterns)
        np.testing.assert_array_equal(true.scan_positions, build_scan(honest).true_positions(0))
        assert np.ptp(tilt.scan_positions, axis=0).tolist() == pytest.approx([1.5, 3.0])


def test_the_truth_holds_the_true_aberrations_of_every_tilt():
    raw = choice(microscope={"reported_aberrations": {"defocus": 80.0}}, tilts={"defocus_error": 20.0})
    tilts = simulated_truth(raw, build_specimen(raw.specimen), (5, 7, 9), (1.0, 1.0, 1.0)).tilts
    true = [-tilt.aberrations["C10"] for tilt in tilts]
    assert len(set(true)) == 2
    assert all(0 < abs(value - 50.0) <= 20.0 for value in true)
