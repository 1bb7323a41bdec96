"""What a microscopist would notice: each doubt is raised where it should be, and nowhere else."""

import numpy as np
import pytest
from series_files import DETECTOR, disk, opened, raster, write_series

from dptt.assembly.checks import calibration_warnings, geometry_warnings, illuminated_diameter
from dptt.assembly.problem import plan_series_geometry


def doubts_of(path, **sections) -> list[str]:
    """Return all doubts about the series at `path`."""
    with opened(path, **sections) as (config, series):
        geometry = plan_series_geometry(config, series)
        doubts = geometry_warnings(series, geometry)
        return doubts + [doubt for tilt in series.tilts for doubt in calibration_warnings(tilt, series)]


def test_a_sound_series_raises_no_doubt(tmp_path):
    assert doubts_of(write_series(tmp_path / "series.h5")) == []


@pytest.mark.parametrize("semiangle", [8.0, 22.0])
def test_a_disk_of_another_size_than_the_aperture_is_doubted(tmp_path, semiangle):
    (doubt,) = doubts_of(write_series(tmp_path / "series.h5", angles=[0.0], pattern=disk(semiangle=semiangle)))
    found = float(doubt.partition("radius of ")[2].partition(" mrad")[0])
    assert found == pytest.approx(semiangle, rel=0.1)
    assert "expected the semiangle_cutoff of 15.00 mrad" in doubt


@pytest.mark.parametrize("shift", [(3, 0), (0, -2), (2, 2)])
def test_a_disk_off_the_middle_is_doubted_and_its_centre_named(tmp_path, shift):
    centre = (12 + shift[0], 10 + shift[1])
    (doubt,) = doubts_of(write_series(tmp_path / "series.h5", angles=[0.0], pattern=disk(centre=centre)))
    assert f"centred at pixel ({centre[0]:.1f}, {centre[1]:.1f}); expected (12, 10)" in doubt
    assert "import.detector.centre" in doubt


def test_hot_pixels_behind_a_mask_raise_no_doubt(tmp_path):
    pattern, mask = disk(), np.ones(DETECTOR, bool)
    pattern[:2, :3], mask[:2, :3] = 1e5, False
    assert doubts_of(write_series(tmp_path / "series.h5", pattern=pattern, mask=mask)) == []


def test_positions_too_far_apart_to_overlap_are_doubted_in_every_tilt(tmp_path):
    doubts = doubts_of(write_series(tmp_path / "series.h5", positions=raster(step=6.0), aberrations={}))
    assert len(doubts) == 3
    assert all("6.00 Å apart" in doubt for doubt in doubts)


def test_a_probe_wider_than_its_window_is_doubted(tmp_path):
    doubts = doubts_of(write_series(tmp_path / "series.h5", aberrations={"C10": -2000.0}))
    assert any("wraps" in doubt or "wrap around" in doubt for doubt in doubts)


def test_slices_thicker_than_the_depth_of_field_are_doubted(tmp_path):
    """15 mrad at 300 keV: 87.5 Å."""
    path = write_series(tmp_path / "series.h5")
    assert doubts_of(path, volume={"thickness": 160.0, "num_slices": 2}) == []
    (doubt,) = doubts_of(path, volume={"thickness": 200.0, "num_slices": 2})
    assert "depth of field is 87.5 Å" in doubt


def test_a_stage_angle_that_occurs_twice_is_doubted(tmp_path):
    (doubt,) = doubts_of(write_series(tmp_path / "series.h5", angles=[-30.0, 20.0, -30.0]))
    assert "same stage angle" in doubt


@pytest.mark.parametrize("defocus", [0.0, 150.0, 220.0])
def test_a_defocused_probe_is_as_wide_as_its_cone(tmp_path, defocus):
    """At 15 mrad a defocus of 220 Å makes a disk 6.6 Å wide; 90 % of the electrons fill 0.95 of a uniform disk."""
    path = write_series(tmp_path / "series.h5", aberrations={"C10": -defocus}, angles=[0.0])
    with opened(path) as (config, series):
        geometry = plan_series_geometry(config, series)
        diameter = illuminated_diameter(series.tilts[0], series, geometry)
    cone, focus = 2 * defocus * 15e-3, 0.61 * 0.0197 / 15e-3
    assert 0.6 * cone < diameter < cone + 4 * focus
