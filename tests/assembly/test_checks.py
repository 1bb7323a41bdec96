"""What a microscopist would notice: each fault is named where it should be, and nowhere else."""

import re

import h5py
import numpy as np
import pytest
from series_files import DETECTOR, SAMPLING, disk, opened, raster, write_series

from dptt.assembly.problem import plan_series_geometry
from dptt.assembly.validation import Check, check_series
from dptt.assembly.validation.geometry import illuminated_diameter
from dptt.assembly.validation.record import RIGHT, UNKNOWN, WRONG, table
from dptt.assembly.validation.samples import central_part


def faults_of(path, **sections) -> list[Check]:
    """Return all wrong items of the series at `path`."""
    with opened(path, **sections) as (config, series):
        checks = check_series(series, plan_series_geometry(config, series))
    return [check for check in checks if check.verdict == WRONG]


def test_a_sound_series_has_no_fault(tmp_path):
    assert faults_of(write_series(tmp_path / "series.h5")) == []


@pytest.mark.parametrize("semiangle", [8.0, 22.0])
def test_a_disk_of_another_size_than_the_aperture_is_named(tmp_path, semiangle):
    (fault,) = faults_of(write_series(tmp_path / "series.h5", angles=[0.0], pattern=disk(semiangle=semiangle)))
    found = float(re.search(r"radius of ([\d.]+) mrad", fault.measured)[1])
    assert found == pytest.approx(semiangle, rel=0.1)
    assert (fault.item, fault.told) == ("aperture", "15.00 mrad")


@pytest.mark.parametrize("shift", [(3, 0), (0, -2), (2, 2)])
def test_a_disk_off_the_middle_is_named_with_its_centre(tmp_path, shift):
    centre = (12 + shift[0], 10 + shift[1])
    (fault,) = faults_of(write_series(tmp_path / "series.h5", angles=[0.0], pattern=disk(centre=centre)))
    found = [float(index) for index in re.search(r"at \(([\d.]+), ([\d.]+)\)", fault.cure).groups()]
    np.testing.assert_allclose(found, centre, atol=0.11)
    assert "import.detector.centre" in fault.cure and not fault.meaningless


def test_a_diffracted_beam_and_a_beam_stop_do_not_move_the_disk(tmp_path):
    """A centroid would move by more than a pixel."""
    pattern = disk() + disk(electrons=250.0, centre=(18, 10))
    pattern[10:14, :10] = 0
    assert faults_of(write_series(tmp_path / "series.h5", pattern=pattern)) == []


def test_an_elliptical_disk_is_named(tmp_path):
    ky, kx = ((np.arange(n) - n // 2) * a for n, a in zip(DETECTOR, SAMPLING, strict=True))
    pattern = 5.3 * (np.hypot(1.15 * ky[:, None], kx[None, :] / 1.15) <= 15.0)
    (fault,) = faults_of(write_series(tmp_path / "series.h5", pattern=pattern))
    assert fault.item == "distortion"
    assert float(fault.measured.split()[-1]) == pytest.approx(1.3225, rel=0.1)


def test_hot_pixels_behind_a_mask_are_no_fault(tmp_path):
    pattern, mask = disk(), np.ones(DETECTOR, bool)
    pattern[:2, :3], mask[:2, :3] = 1e5, False
    assert faults_of(write_series(tmp_path / "series.h5", pattern=pattern, mask=mask)) == []


def test_positions_too_far_apart_to_overlap_are_named_once(tmp_path):
    (fault,) = faults_of(write_series(tmp_path / "series.h5", positions=raster(step=6.0), aberrations={}))
    assert (fault.item, fault.told) == ("overlap", "6 Å apart")


def test_the_order_of_listed_positions_does_not_matter_for_the_overlap(tmp_path):
    shuffled = np.random.default_rng(3).permutation(raster((9, 8)))
    assert faults_of(write_series(tmp_path / "series.h5", positions=shuffled)) == []


def test_a_probe_wider_than_its_window_is_named(tmp_path):
    faults = faults_of(write_series(tmp_path / "series.h5", aberrations={"C10": -2000.0}))
    assert any(fault.item == "probe window" and "wrap around" in fault.cure for fault in faults)


def test_slices_thicker_than_the_depth_of_field_are_named(tmp_path):
    """15 mrad at 300 keV: 87.5 Å."""
    path = write_series(tmp_path / "series.h5")
    assert faults_of(path, volume={"thickness": 160.0, "num_slices": 2}) == []
    (fault,) = faults_of(path, volume={"thickness": 200.0, "num_slices": 2})
    assert "depth of field is 87.5 Å" in fault.measured


def test_a_stage_angle_that_occurs_twice_is_named(tmp_path):
    (fault,) = faults_of(write_series(tmp_path / "series.h5", angles=[-30.0, 20.0, -30.0]))
    assert fault.item == "tilt angles" and "-30° occurs 2 times" in fault.measured


def test_a_scan_too_small_to_show_the_optics_is_said_to_be(tmp_path):
    with opened(write_series(tmp_path / "series.h5")) as (config, series):
        checks = check_series(series, plan_series_geometry(config, series))
    optics = {check.item: check for check in checks}
    for item in ("detector parity", "scan rotation", "scan step", "defocus"):
        assert optics[item].verdict == UNKNOWN and "raster" in optics[item].measured


def test_nearly_empty_patterns_show_neither_gain_nor_optics(tmp_path):
    """Two electrons in three patterns: chance alone would make the quietest positions too quiet."""
    random, path = np.random.default_rng(4), tmp_path / "series.h5"
    write_series(path, angles=[0.0], positions=raster((16, 16)))
    with h5py.File(path, "r+") as file:
        del file["tilts/0000/data"]
        file["tilts/0000/data"] = random.poisson(0.7 / np.prod(DETECTOR), (16, 16, *DETECTOR)).astype(np.uint8)
    with opened(path) as (config, series):
        checks = {check.item: check for check in check_series(series, plan_series_geometry(config, series))}
    assert [item for item, check in checks.items() if check.verdict == WRONG] == []
    assert {checks[item].verdict for item in ("shot noise", "detector parity", "defocus")} == {UNKNOWN}
    assert checks["detector parity"].measured == "fewer than 2 electrons in a pattern"


def test_the_columns_of_the_table_are_aligned():
    lines = table([Check("a", "told", "x", RIGHT), Check("longer", "1", "measured values", WRONG, "Cure.")])
    assert len({line.index(last) for line, last in zip(lines, ("verdict", "right", "wrong"), strict=True)}) == 1


def test_the_central_part_of_a_tilt_reads_its_own_patterns(tmp_path):
    random = np.random.default_rng(1)
    path = tmp_path / "series.h5"
    write_series(path, angles=[0.0], positions=raster((7, 6)))
    with h5py.File(path, "r+") as file:
        del file["tilts/0000/data"]
        file["tilts/0000/data"] = data = random.poisson(3.0, (7, 6, *DETECTOR)).astype(np.uint16)
    with opened(path) as (_, series):
        part = central_part(series.tilts[0], 4)
        assert part.scan_shape == (4, 4) and part.num_positions == 16
        np.testing.assert_array_equal(part.read(slice(None)), data[1:5, 1:5].reshape(16, *DETECTOR))
        np.testing.assert_array_equal(part.read(np.array([3, 0])), data[1, [4, 1]])
        np.testing.assert_allclose(part.scan_positions(), raster((7, 6)).reshape(7, 6, 2)[1:5, 1:5].reshape(-1, 2))


@pytest.mark.parametrize("defocus", [0.0, 150.0, 220.0])
def test_a_defocused_probe_is_as_wide_as_its_cone(tmp_path, defocus):
    """At 15 mrad a defocus of 220 Å makes a disk 6.6 Å wide; 90 % of the electrons fill 0.95 of a uniform disk."""
    path = write_series(tmp_path / "series.h5", aberrations={"C10": -defocus}, angles=[0.0])
    with opened(path) as (config, series):
        geometry = plan_series_geometry(config, series)
        diameter = illuminated_diameter(series.tilts[0], series, geometry)
    cone, focus = 2 * defocus * 15e-3, 0.61 * 0.0197 / 15e-3
    assert 0.6 * cone < diameter < cone + 4 * focus
