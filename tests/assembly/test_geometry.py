"""The grids that follow from beam, detector and scan."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from dptt.assembly.geometry import Experiment, depth_of_field, geometry_problems, plan_geometry
from dptt.config import ConfigError
from dptt.config.reconstruction import VolumeConfig
from dptt.kernels import project_slices
from dptt.physics.rotation import sampling_map

BEAM = dict(energy=300e3, semiangle=14.0, angular_sampling=(4.0, 3.0), detector_shape=(16, 15))
WAVELENGTH = 0.0196875
"""Of 300 keV electrons [Å], from a table."""
SCAN = np.stack(np.meshgrid(np.arange(-3, 4) * 0.7, np.arange(-2, 3) * 1.1, indexing="ij"), -1).reshape(-1, 2)


def plan(positions=SCAN, **choices):
    """Return the grids for a scan in a beam, with `choices` of the section `volume`."""
    beam = {name: choices.pop(name, value) for name, value in BEAM.items()}
    return plan_geometry(VolumeConfig(**choices), Experiment(**beam, positions={"a": positions}))


def problems(geometry, positions=SCAN, periodic=False, **changes):
    experiment = Experiment(**BEAM | changes, positions={"a": SCAN, "b": positions})
    return geometry_problems(geometry, experiment, periodic=periodic)


def test_a_pixel_is_the_wavelength_over_the_angle_of_the_whole_detector():
    geometry = plan()
    assert geometry.window_shape == (16, 15)
    expected = (WAVELENGTH / (16 * 4.0e-3), WAVELENGTH / (15 * 3.0e-3))
    assert geometry.sampling == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("semiangle", "choices", "window"),
    [
        (15.0, {}, (16, 15)),  # a detector to 21 mrad
        (15.1, {}, (24, 22)),
        (15.1, {"detector_shape": (32, 33), "angular_sampling": (1.3, 1.3)}, (48, 50)),
        (21.0, {"voxel_size": 0.4}, (12, 16)),
        (21.0, {"shape": (8, 40, 40)}, (16, 15)),
        (21.0, {"angular_padding": 2.0}, (32, 30)),  # of the waves; the voxels are the detector's
    ],
)
def test_voxels_are_finer_than_the_detector_allows_where_it_cuts_off_much(semiangle, choices, window):
    geometry = plan(semiangle=semiangle, **choices)
    assert geometry.window_shape == window
    angles = choices.get("angular_sampling", (4.0, 3.0))
    sizes = [WAVELENGTH / (1e-3 * angle) for angle in angles]
    assert np.multiply(geometry.window_shape, geometry.sampling) == pytest.approx(sizes, rel=1e-5)


def test_the_depth_of_field_is_the_wavelength_over_the_squared_semiangle():
    assert depth_of_field(300e3, 21.0) == pytest.approx(WAVELENGTH / 0.021**2, rel=1e-5)


@pytest.mark.parametrize("voxel_size", [0.2, 0.25, 0.5, 0.6])
def test_a_wanted_voxel_is_met_as_well_as_whole_pixels_of_the_window_allow(voxel_size):
    geometry = plan(voxel_size=voxel_size)
    windows = np.array([WAVELENGTH / 4.0e-3, WAVELENGTH / 3.0e-3])
    np.testing.assert_allclose(np.multiply(geometry.window_shape, geometry.sampling), windows, rtol=1e-5)
    assert np.abs(np.array(geometry.window_shape) - windows / voxel_size).max() <= 0.5
    assert geometry.voxel_size[0] == voxel_size


@pytest.mark.parametrize("detector_shape", [(16, 15), (11, 12), (9, 21)])
@pytest.mark.parametrize("margin", [0, 5])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (-4.3, 2.6)])
def test_the_planned_volume_holds_the_window_at_every_position(detector_shape, margin, offset):
    positions = SCAN + offset
    geometry = plan(positions, detector_shape=detector_shape, margin=margin)
    assert problems(geometry, positions, detector_shape=detector_shape, semiangle=12.0) == []


def test_the_planned_volume_is_not_much_larger_than_the_scan_needs():
    geometry = plan(margin=0)
    for axis in (1, 2):
        needed = 2 * np.abs(SCAN[:, axis - 1]).max() / geometry.voxel_size[axis] + geometry.window_shape[axis - 1]
        assert needed <= geometry.volume_shape[axis] <= needed + 5


def test_a_volume_of_unknown_depth_is_as_deep_as_wide():
    geometry = plan()
    widest = max(n * d for n, d in zip(geometry.volume_shape[1:], geometry.sampling, strict=True))
    assert geometry.volume_shape[0] * geometry.voxel_size[0] == pytest.approx(widest, abs=geometry.slice_thickness)


def test_a_given_thickness_is_met_to_a_voxel_a_slice():
    geometry = plan(thickness=31.0, num_slices=7)
    assert geometry.volume_shape[0] * geometry.voxel_size[0] == pytest.approx(31.0, abs=7 * geometry.voxel_size[0])


def test_slices_are_a_fifth_of_the_depth_of_field_by_default():
    geometry = plan(thickness=120.0)
    assert geometry.slice_thickness == pytest.approx(depth_of_field(300e3, 14.0) / 5, rel=0.1)
    assert geometry.slice_thickness <= 1.05 * depth_of_field(300e3, 14.0) / 5


def test_a_wanted_slice_thickness_is_met_as_well_as_equal_slices_allow():
    assert plan(thickness=30.0, slice_thickness=3.0).slice_thickness == pytest.approx(3.0, rel=0.07)


@pytest.mark.parametrize("planes", [1, 24, 25, 29, 36])
@pytest.mark.parametrize("slice_thickness", [None, 0.1, 2.0, 50.0])
def test_given_planes_are_all_used_and_cut_equally(planes, slice_thickness):
    geometry = plan(shape=(planes, 40, 50), slice_thickness=slice_thickness)
    assert geometry.volume_shape == (planes, 40, 50)
    assert planes % geometry.num_slices == 0


@pytest.mark.parametrize("num_slices", [1, 4, 7])
def test_a_given_number_of_slices_is_kept(num_slices):
    geometry = plan(thickness=20.0, num_slices=num_slices)
    assert geometry.num_slices == num_slices
    assert geometry.volume_shape[0] % num_slices == 0


@pytest.mark.parametrize("detector_shape", [(16, 15), (11, 12), (9, 21)])
@pytest.mark.parametrize("padding", [1.2, 1.5, 2.0])
def test_padding_makes_finer_pixels_of_the_same_window_and_leaves_the_voxels(detector_shape, padding):
    beam = dict(detector_shape=detector_shape, semiangle=11.0)
    geometry, plain = plan(angular_padding=padding, **beam), plan(**beam)
    assert geometry.voxel_size == plain.voxel_size
    assert geometry.on_voxels.window_shape == detector_shape
    finer = np.divide(plain.sampling, geometry.sampling)
    assert (finer >= padding - 1e-9).all() and (finer < padding + 1).all()
    size = [np.multiply(g.window_shape, g.sampling) for g in (geometry, plain)]
    np.testing.assert_allclose(*size, rtol=1e-12)
    assert np.subtract(geometry.volume_shape, plain.volume_shape).max() <= 8
    assert problems(geometry, SCAN, detector_shape=detector_shape, semiangle=11.0) == []


def test_padding_of_a_chosen_shape_keeps_it():
    geometry = plan(shape=(10, 30, 35), angular_padding=1.4)
    assert geometry.volume_shape == (10, 30, 35)
    assert geometry.pixels == (45, 70), (
        "halves of 30 and 16, none but wholes of 35 and 15 along y; fifths do not occur"
    )


def test_an_aperture_wider_than_the_detector_is_a_problem():
    (problem,) = problems(plan(semiangle=24.5), semiangle=24.5)
    assert "semiangle_cutoff is 24.5 mrad but the detector ends at 21.00 mrad" in problem


def test_an_aperture_of_less_than_two_pixels_is_a_problem():
    (problem,) = problems(plan(semiangle=7.0), semiangle=7.0)
    assert "7.0 mrad is 1.8 detector pixels" in problem


def test_the_positions_that_leave_the_volume_are_counted_by_tilt():
    positions = SCAN.copy()
    positions[[4, 9]] = (0.0, 30.0)
    (problem,) = problems(plan(), positions)
    assert problem.startswith("tilt b: ")
    assert "at 2 of 35 scan positions (first: 4)" in problem


def test_a_window_may_touch_the_border_of_the_volume_but_not_cross_it():
    geometry = dataclasses.replace(plan(), volume_shape=(1, 16 + 2, 15 + 3), num_slices=1)
    pixel = np.array(geometry.sampling)
    inside = np.array([[-1.0, -2.0], [1.0, 1.0]]) * pixel
    assert geometry_problems(geometry, Experiment(**BEAM, positions={"a": inside}), periodic=False) == []
    for step in ((-1, 0), (0, -1)):
        crossing = Experiment(**BEAM, positions={"a": inside[:1] + step * pixel})
        (problem,) = geometry_problems(geometry, crossing, periodic=False)
        assert "at 1 of 1" in problem


def test_a_periodic_volume_holds_every_position_but_not_a_larger_window():
    geometry = plan(shape=(10, 16, 15))
    assert problems(geometry, SCAN + 100.0, periodic=True) == []
    (problem,) = problems(plan(shape=(10, 16, 14)), periodic=True)
    assert "16 x 14 voxels (y, x) but the probe window 16 x 15" in problem


def test_all_problems_are_returned_together():
    geometry = plan(shape=(10, 20, 20), semiangle=30.0)
    assert len(problems(geometry, SCAN + 5.0, semiangle=30.0)) >= 2


def extended(angles, thickness=10.0, positions=SCAN):
    """Return the grids for a film of `thickness` [Å], of which `angles` are the poses."""
    names = [str(i) for i in range(len(angles))]
    poses = dict(zip(names, angles, strict=True))
    experiment = Experiment(**BEAM, positions=dict.fromkeys(names, positions), euler_angles=poses)
    return plan_geometry(VolumeConfig(thickness=thickness, extended=True, margin=0), experiment)


def test_a_film_that_is_not_tilted_needs_no_more_than_the_scan():
    geometry = extended([(0.0, 0.0, 0.0)])
    assert dataclasses.replace(geometry, specimen_thickness=None) == plan(thickness=10.0, margin=0)
    assert plan(thickness=10.0, margin=0).vacuum_planes == ()


def test_beyond_the_thickness_of_a_film_its_volume_is_vacuum():
    geometry = extended([(0.0, 30.0, 0.0)])
    planes = (np.arange(geometry.volume_shape[0]) - geometry.volume_shape[0] // 2) * geometry.voxel_size[0]
    vacuum = np.zeros(len(planes), dtype=bool)
    for part in geometry.vacuum_planes:
        vacuum[part] = True
    np.testing.assert_array_equal(vacuum, np.abs(planes) >= 5.0 + geometry.voxel_size[0])


def test_a_tilted_film_is_wider_by_its_cosine_and_deeper_by_its_sine():
    geometry = extended([(0.0, theta, 0.0) for theta in (-53.0, 0.0, 20.0)])
    reach = 2.2 + WAVELENGTH / 3.0e-3 / 2
    tangent, cosine = np.tan(np.radians(53.0)), np.cos(np.radians(53.0))
    depth, height, width = np.multiply(geometry.volume_shape, geometry.voxel_size)
    assert 0 <= width - 2 * (reach / cosine + 5.0 * tangent) < 4 * geometry.voxel_size[2]
    assert abs(depth - 2 * (reach * tangent + 5.0 / cosine)) <= geometry.voxel_size[0] * geometry.num_slices / 2
    assert height == pytest.approx(plan(thickness=10.0, margin=0).volume_shape[1] * geometry.voxel_size[1])


def test_the_beam_meets_a_film_within_its_volume_in_any_pose():
    random = np.random.default_rng(0)
    angles = [(3.0, 41.0, -7.0), (-2.0, -50.0, 4.0)]
    positions = SCAN + (1.5, -2.0)
    geometry = extended(angles, positions=positions)
    half = np.multiply(geometry.volume_shape, geometry.voxel_size)[::-1] / 2
    window = np.array([WAVELENGTH / 4.0e-3, WAVELENGTH / 3.0e-3]) / 2
    lateral = random.uniform(positions.min(0) - window, positions.max(0) + window, (20000, 2))[:, ::-1]
    for pose in angles:
        rotation = Rotation.from_euler("xyz", pose, degrees=True).as_matrix()
        points = np.column_stack([lateral, random.uniform(-half[2] * 2, half[2] * 2, len(lateral))]) @ rotation
        points = points[np.abs(points[:, 2]) < 5.0]
        assert len(points) > 1000
        assert (np.abs(points[:, :2]) <= half[:2]).all()
        assert (np.abs(points @ rotation.T)[:, 2] <= half[2] + geometry.slice_thickness / 2).all()


@pytest.mark.parametrize("pose", [(0.0, 40.0, 0.0), (0.0, -53.0, 0.0), (3.0, 41.0, -7.0)])
def test_a_film_has_its_whole_thickness_wherever_a_window_passes(pose):
    """Neither vacuum behind its planes nor that beyond the volume reaches the windows, but for their last pixels."""
    geometry = extended([pose, (0.0, 0.0, 0.0)])
    volume = torch.ones(geometry.volume_shape).double()
    for part in geometry.vacuum_planes:
        volume[part] = 0.0
    film = volume[:, 0, 0].sum().item() * geometry.voxel_size[0]
    map_ = sampling_map(torch.tensor(pose).double(), torch.zeros(2).double(), geometry.voxel_size)
    projected = project_slices(volume, map_, geometry.num_slices, geometry.voxel_size[0]).sum(0)
    y, x = ((np.arange(n) - n // 2) * d for n, d in zip(geometry.image_shape, geometry.sampling, strict=True))
    windows = np.multiply(geometry.window_shape, geometry.sampling) / 2 - 3 * np.array(geometry.sampling)
    (top, left), (bottom, right) = SCAN.min(0) - windows, SCAN.max(0) + windows
    inside = projected[(y >= top) & (y <= bottom)][:, (x >= left) & (x <= right)]
    along_beam = film / Rotation.from_euler("xyz", pose, degrees=True).as_matrix()[2, 2]
    assert (inside - along_beam).abs().max() < 3e-3 * along_beam


def test_a_film_seen_edge_on_has_no_grid():
    with pytest.raises(ConfigError, match=r"tilt 1 .* less than 10° from its plane"):
        extended([(0.0, 0.0, 0.0), (0.0, 81.0, 0.0)])


@pytest.mark.parametrize("choices", [{"thickness": None}, {"periodic": True}])
def test_what_contradicts_an_extended_specimen_is_refused(choices):
    with pytest.raises(ValueError, match="extended"):
        VolumeConfig(**{"extended": True, "thickness": 10.0} | choices)
