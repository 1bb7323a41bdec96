from dataclasses import replace

import numpy as np
import pytest
from simulated import simulated_patterns, simulated_tilts

from dptt.kernels import dispatch
from dptt.kernels.cpu import diffraction as compiled_patterns
from dptt.simulation import diffraction
from dptt.simulation.acquisition import Acquisition, Exposure, Optics, Pose, Scan, TiltScheme
from dptt.simulation.coherence import probe_modes
from dptt.simulation.diffraction import MultisliceSettings
from dptt.simulation.specimen import Specimen

OPTICS = Optics(300e3, 20.0, (24, 29), (3.0, 2.6), aberrations={"C10": -50.0})
SETTINGS = MultisliceSettings(slice_thickness=1.5, oversampling=1.5)
LEVEL = Pose((0.0, 0.0, 0.0))


def atoms(positions, numbers=None, displacement=0.0) -> Specimen:
    positions = np.asarray(positions, dtype=np.float64)
    numbers = np.full(len(positions), 79) if numbers is None else np.asarray(numbers)
    return Specimen(positions, numbers, np.full(len(positions), displacement))


CLUSTER = atoms(np.random.default_rng(2).uniform(-4, 4, (9, 3)), [79, 6, 29] * 3, 0.08)


def patterns(specimen, pose=LEVEL, positions=((0.0, 0.0), (1.3, -2.1)), settings=SETTINGS, electrons=1.0):
    modes = probe_modes(OPTICS, settings.wave_shape(OPTICS), electrons=electrons)
    positions = np.array(positions, dtype=np.float64)
    return simulated_patterns(specimen, pose, positions, modes=modes, optics=OPTICS, settings=settings)


def difference(one, other):
    """Amplitude R factor."""
    return np.abs(np.sqrt(one) - np.sqrt(other)).sum() / np.sqrt(other).sum()


def test_vacuum_gives_the_aperture_with_all_electrons_in_disk_order():
    far = atoms([[0.0, 60.0, 60.0]], [1])
    image = patterns(far, electrons=500.0)[0]
    assert image.shape == OPTICS.detector_shape
    assert image.sum() == pytest.approx(500, rel=1e-5)
    ky, kx = (np.arange(n) - n // 2 for n in OPTICS.detector_shape)
    angle = np.hypot(ky[:, None] * 3.0, kx * 2.6)
    assert image[angle < 17].std() < 1e-3 * image[angle < 17].mean()
    assert image[angle > 23.5].max() < 1e-5 * image.max()


def test_electrons_scattered_beyond_the_detector_are_lost():
    column = atoms([[3.0 * i, 0.0, 0.0] for i in range(-2, 3)])
    assert 0.7 < patterns(column)[0].sum() < 0.97


def test_moving_the_specimen_by_tau_is_moving_the_scan_by_minus_tau():
    tau = (0.61, -1.17)
    moved = patterns(CLUSTER, Pose((3.0, 20.0, -5.0), tau), [(0.4, 0.3), (1.0, -2.0)])
    scanned = patterns(CLUSTER, Pose((3.0, 20.0, -5.0)), [(0.4 - 0.61, 0.3 + 1.17), (1.0 - 0.61, -2.0 + 1.17)])
    assert difference(moved, scanned) < 2e-3
    wrong = patterns(CLUSTER, Pose((3.0, 20.0, -5.0)), [(0.4 + 0.61, 0.3 - 1.17), (1.0 + 0.61, -2.0 - 1.17)])
    assert difference(moved, wrong) > 0.05


def test_a_positive_tilt_brings_an_atom_at_positive_x_upstream():
    # Two atoms: which of them the wave meets first, and how far it is from the focus, is seen in the pattern.
    pair = atoms([[0.0, 0.3, 6.0], [0.0, 0.0, -6.0]], [79, 14])
    angle = np.deg2rad(40.0)
    expected = atoms(
        [[-6.0 * np.sin(angle), 0.3, 6.0 * np.cos(angle)], [6.0 * np.sin(angle), 0.0, -6.0 * np.cos(angle)]], [79, 14]
    )
    positions = [(0.3, 4.6), (0.0, -4.6)]
    tilted = patterns(pair, Pose((0.0, 40.0, 0.0)), positions)
    assert difference(tilted, patterns(expected, LEVEL, positions)) < 1e-5
    upstream_is_downstream = replace(expected, positions=expected.positions * [-1, 1, 1])
    assert difference(tilted, patterns(upstream_is_downstream, LEVEL, positions)) > 0.01


def test_the_probe_refers_to_the_plane_of_the_rotation_centre():
    # An atom 20 Å downstream is met by the wave that an atom at the centre would meet at 20 Å more of C10.
    low = patterns(atoms([[20.0, 0.0, 0.0]]))
    refocused = replace(OPTICS, aberrations={"C10": -50.0 + 20.0})
    modes = probe_modes(refocused, SETTINGS.wave_shape(OPTICS))
    positions = np.array([[0.0, 0.0], [1.3, -2.1]])
    here = simulated_patterns(
        atoms([[0.0, 0.0, 0.0]]), LEVEL, positions, modes=modes, optics=refocused, settings=SETTINGS
    )
    assert difference(low, here) < 1e-4
    assert difference(low, patterns(atoms([[0.0, 0.0, 0.0]]))) > 0.005


def test_finer_waves_and_slices_converge():
    coarse = patterns(CLUSTER, settings=MultisliceSettings(slice_thickness=1.0, oversampling=2.0))
    fine = patterns(
        CLUSTER, settings=MultisliceSettings(slice_thickness=0.25, oversampling=4.0, integration="finite")
    )
    assert difference(coarse, fine) < 0.01


def test_atoms_shared_by_two_thick_slices_are_as_good_as_thin_slices():
    fine = patterns(CLUSTER, settings=MultisliceSettings(slice_thickness=0.25, oversampling=2.0))
    by_kind = {
        kind: patterns(CLUSTER, settings=MultisliceSettings(slice_thickness=2.5, oversampling=2.0, integration=kind))
        for kind in ("projected", "linear")
    }
    assert difference(by_kind["linear"], fine) < min(0.005, 0.5 * difference(by_kind["projected"], fine))


def test_compiled_code_agrees_with_torch_and_leaves_out_slices_beside_the_beam(monkeypatch):
    far = atoms([[-9.0, 0.0, 0.0], [0.0, 6.0, 7.0], [9.0, 0.3, 0.2]])
    expected = patterns(far)
    monkeypatch.setattr(dispatch, "_WORTH_PATTERNS", 0)
    exposures, optics_of = [], compiled_patterns._optics
    monkeypatch.setattr(compiled_patterns, "_optics", lambda given: exposures.append(given) or optics_of(given))
    np.testing.assert_allclose(patterns(far), expected, atol=1e-3 * expected.max())
    kept = (~compiled_patterns.empty_slices(exposures[0])).sum(0)
    assert len(exposures[0].transmission) == 12 and 2 <= kept.min() < 8
    monkeypatch.setattr(diffraction, "NEGLIGIBLE", 0.0)
    np.testing.assert_allclose(patterns(far), expected, atol=2e-6 * expected.max())


def test_many_frozen_phonons_scatter_like_the_smeared_potential_and_a_little_more():
    still, smeared = replace(CLUSTER, rms_displacements=np.zeros(9)), patterns(CLUSTER)
    frozen = patterns(CLUSTER, settings=replace(SETTINGS, frozen_phonons=40, seed=1))
    assert difference(frozen, smeared) < 0.25 * difference(patterns(still), smeared) + 0.01
    again = patterns(CLUSTER, settings=replace(SETTINGS, frozen_phonons=40, seed=1))
    np.testing.assert_array_equal(frozen, again)


def test_a_specimen_of_whole_cells_is_periodic_in_the_scan():
    cell = OPTICS.window
    settings = replace(SETTINGS, cell=cell)
    far = [(1.0 + cell[0], 0.5 - 2 * cell[1])]
    assert (
        difference(
            patterns(CLUSTER, positions=[(1.0, 0.5)], settings=settings),
            patterns(CLUSTER, positions=far, settings=settings),
        )
        < 1e-4
    )


SCAN = Scan((4, 5), (0.6, 0.7), rotation=15.0, jitter=0.05, drift=(0.3, 0.2), seed=4)
SCHEME = TiltScheme((-30.0, 0.0, 25.0), angle_errors=(1.0, 1.0, 1.0), translation_error=0.5, seed=5)


def series(exposure, scheme=SCHEME, scan=SCAN, **options):
    return simulated_tilts(CLUSTER, Acquisition(OPTICS, scan, scheme, exposure), SETTINGS, **options)


def test_a_series_holds_what_was_reported_and_what_was_true():
    tilts = series(Exposure(1e4, shot_noise=False))
    assert len(tilts) == 3
    for index, tilt in enumerate(tilts):
        assert tilt.nominal_pose == SCHEME.nominal_poses()[index]
        assert tilt.true_pose == SCHEME.true_poses()[index]
        np.testing.assert_array_equal(tilt.nominal_positions, SCAN.nominal_positions())
        np.testing.assert_array_equal(tilt.true_positions, SCAN.true_positions(index))
        expected = patterns(CLUSTER, tilt.true_pose, tilt.true_positions, electrons=1e4 * 0.6 * 0.7)
        assert tilt.patterns.dtype == np.float32
        np.testing.assert_allclose(tilt.patterns, expected, rtol=1e-3, atol=1e-4)


def test_shot_noise_counts_the_electrons_of_the_expectation_and_repeats_with_its_seed():
    quiet, noisy, again, other = (
        series(exposure)[1].patterns.astype(float)
        for exposure in (Exposure(1e4, shot_noise=False), Exposure(1e4), Exposure(1e4), Exposure(1e4, seed=9))
    )
    np.testing.assert_array_equal(noisy, again)
    assert (noisy != other).any()
    bright = quiet > 1
    deviation = (noisy - quiet)[bright] / np.sqrt(quiet[bright])
    assert deviation.mean() == pytest.approx(0, abs=0.05)
    assert deviation.var() == pytest.approx(1, abs=0.1)


def test_every_pattern_is_reported_once():
    seen = []
    series(Exposure(1e3), replace(SCHEME, angles=(10.0,)), progress=seen.append)
    assert seen[-1] == 20 and seen == sorted(set(seen))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cell": (9.0, 9.0)}, "the cell of 9.0 Å along y is .* expected a whole number, at least the 36"),
        ({"depth_range": (-1.0, 2.0)}, "outside depth_range"),
        ({"depth_range": (-10.0, 10.1)}, "expected a whole number of slices of 1.5 Å"),
        ({"oversampling": 1.0, "slice_thickness": 0.0}, "slice_thickness is 0.0"),
        ({"oversampling": 0.5}, "oversampling is 0.5"),
        ({"frozen_phonons": -1}, "frozen_phonons is -1"),
        ({"power_kept": 0.0}, "power_kept is 0.0"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        patterns(CLUSTER, settings=replace(SETTINGS, **settings))


def test_an_aperture_beyond_the_wave_is_refused():
    wide = replace(OPTICS, semiangle_cutoff=40.0)
    with pytest.raises(ValueError, match="semiangle of 40.0 mrad exceeds the .* that the wave of 36 x 44 pixels"):
        SETTINGS.wave_shape(wide)


def test_partial_coherence_enters_the_series_as_an_average_of_intensities():
    blurred = replace(OPTICS, source_size=0.3)
    positions = SCAN.nominal_positions()[:3]
    modes = probe_modes(blurred, SETTINGS.wave_shape(blurred))
    ours = simulated_patterns(CLUSTER, LEVEL, positions, modes=modes, optics=blurred, settings=SETTINGS)
    points, weights = np.polynomial.hermite_e.hermegauss(9)
    weights = weights / weights.sum()
    true = np.zeros_like(ours)
    for y, wy in zip(0.3 * points, weights, strict=True):
        for x, wx in zip(0.3 * points, weights, strict=True):
            true += wy * wx * patterns(CLUSTER, positions=positions + [y, x])
    assert np.abs(ours - true).sum() / true.sum() < 1e-3
