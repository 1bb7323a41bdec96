import numpy as np
import pytest
from gaussian_particles import keep_measured_frequencies

from dptt.analysis.correlation import fourier_shell_correlation
from dptt.analysis.directional_correlation import (
    axis_directions,
    directional_fourier_shell_correlation,
    in_plane_directions,
    polar_directions,
)


def test_missing_wedge_of_a_symmetric_tilt_series_lies_along_the_beam():
    truth = np.random.default_rng(0).normal(size=(41, 44, 47))
    voxel_size = (0.5, 0.5, 0.5)
    volume = keep_measured_frequencies(truth, voxel_size, np.arange(-60, 61, 2.0))
    along_z, along_y, along_x = directional_fourier_shell_correlation(
        truth, volume, voxel_size, axis_directions()
    ).resolution(0.5)
    assert along_z.full_period == np.inf
    assert along_y.at_nyquist and along_x.at_nyquist


def test_missing_wedge_of_a_one_sided_tilt_series_lies_on_the_right_side():
    truth = np.random.default_rng(1).normal(size=(61, 56, 63))
    voxel_size = (0.5, 0.45, 0.5)
    volume = keep_measured_frequencies(truth, voxel_size, np.arange(-30, 71, 2.0))
    angles, directions = in_plane_directions(12)
    half_angle = 9.0
    resolutions = directional_fourier_shell_correlation(truth, volume, voxel_size, directions, half_angle).resolution(
        0.5
    )
    # R_y(theta) brings the direction at 90 - theta from z towards x across the beam: -30..70 measures 20..120
    for angle, resolution in zip(angles, resolutions, strict=True):
        if 20 + half_angle <= angle <= 120 - half_angle:
            assert resolution.at_nyquist, angle
        elif angle <= 20 - half_angle or angle >= 120 + half_angle:
            assert resolution.full_period == np.inf, angle


def test_resolution_along_an_axis_follows_the_blur_along_that_axis():
    rng = np.random.default_rng(2)
    truth = rng.normal(size=(48, 45, 51))
    voxel_size = (0.4, 0.4, 0.4)
    kz, ky, kx = np.meshgrid(*(np.fft.fftfreq(n, 0.4) for n in truth.shape), indexing="ij")
    cut = (np.abs(kz) < 0.5) & (np.abs(ky) < 0.7) & (np.abs(kx) < 0.9)
    volume = np.fft.ifftn(np.fft.fftn(truth) * cut).real
    found = directional_fourier_shell_correlation(truth, volume, voxel_size, axis_directions(), half_angle=12.0)
    periods = [resolution.full_period for resolution in found.resolution(0.5)]
    assert periods == pytest.approx([1 / 0.5, 1 / 0.7, 1 / 0.9], rel=0.06)


def test_each_direction_reaches_its_own_nyquist_frequency():
    volume = np.random.default_rng(3).normal(size=(31, 40, 44))
    found = directional_fourier_shell_correlation(volume, volume, (0.8, 0.5, 0.4), axis_directions())
    assert [curve.nyquist for curve in found.curves] == pytest.approx([0.625, 1.0, 1.25])
    assert all(np.allclose(curve.correlation[curve.num_voxels > 0], 1) for curve in found.curves)


def test_cone_of_ninety_degrees_is_the_whole_shell():
    a, b = np.random.default_rng(4).normal(size=(2, 17, 20, 23))
    whole = fourier_shell_correlation(a, a + b, (0.5, 0.5, 0.5))
    cone = directional_fourier_shell_correlation(a, a + b, (0.5, 0.5, 0.5), np.array([[1.0, 2.0, 3.0]]), 90.0)
    assert np.allclose(cone.curves[0].correlation[1:], whole.correlation[1:])


def test_polar_directions_are_unit_vectors_spread_evenly_over_the_half_sphere():
    directions = polar_directions(200)
    assert np.allclose(np.linalg.norm(directions, axis=1), 1)
    assert directions[:, 0].min() > 0
    assert np.allclose((directions[:, :, None] * directions[:, None, :]).mean(axis=0), np.eye(3) / 3, atol=0.01)


def test_directions_of_no_length_are_refused():
    volume = np.ones((4, 5, 6))
    with pytest.raises(ValueError, match=r"expected \(n, 3\) non-zero"):
        directional_fourier_shell_correlation(volume, volume, (1.0, 1.0, 1.0), np.zeros((2, 3)))
