import numpy as np
import pytest
from gaussian_particles import gaussian_atoms, keep_measured_frequencies

from dptt.analysis.spectrum import directional_power_spectra, power_spectrum, spectral_peaks

SHAPE, VOXEL_SIZE = (37, 40, 47), (0.4, 0.35, 0.3)


def test_spectrum_of_a_gaussian_is_the_analytic_one():
    height, width = 20.0, 0.6
    volume = gaussian_atoms(SHAPE, VOXEL_SIZE, np.array([[0.2, -0.3, 0.5]]), [height], width)
    spectrum = power_spectrum(volume, VOXEL_SIZE)
    k = spectrum.frequency[:8]
    amplitude = height * (2 * np.pi) ** 1.5 * width**3 * np.exp(-2 * (np.pi * width * k) ** 2)
    assert np.allclose(spectrum.mean_power[0], amplitude[0] ** 2, rtol=1e-6)
    assert np.allclose(spectrum.mean_power[1:8], amplitude[1:] ** 2, rtol=0.1)


def test_integrated_power_sums_to_the_square_of_the_potential():
    volume = gaussian_atoms(SHAPE, VOXEL_SIZE, np.array([[0.2, -0.3, 0.5]]), [20.0], 0.6) * (1 + 0.1j)
    for num_shells in (None, 12):
        spectrum = power_spectrum(volume, VOXEL_SIZE, num_shells)
        total = np.sum(spectrum.integrated_power) * spectrum.frequency[1]
        assert total == pytest.approx(np.sum(np.abs(volume) ** 2) * np.prod(VOXEL_SIZE), rel=1e-6)


def test_lattice_planes_are_peaks_at_their_spacings():
    spacing, voxel_size, shape = 3.2, (0.4, 0.4, 0.4), (96, 96, 96)
    z, y, x = np.meshgrid(*([(np.arange(96) - 48) * 0.4] * 3), indexing="ij")
    particle = np.exp(-0.5 * (z**2 + y**2 + x**2) / 6.0**2)
    planes = np.cos(2 * np.pi * z / spacing) + 0.5 * np.cos(2 * np.pi * (x + y) / 1.28 / np.sqrt(2))
    noise = 1e-3 * np.random.default_rng(0).normal(size=shape)
    peaks = spectral_peaks(power_spectrum(particle * planes + noise, voxel_size), prominence=1.0)
    assert peaks == pytest.approx([3.2, 1.28], rel=0.02)


def test_missing_wedge_empties_the_beam_direction_and_not_the_plane():
    volume = np.random.default_rng(1).normal(size=(45, 42, 47))
    voxel_size = (0.4, 0.4, 0.4)
    spectra = directional_power_spectra(
        keep_measured_frequencies(volume, voxel_size, np.arange(-55, 56, 2.5)), voxel_size, half_angle=25.0
    )
    assert np.all(spectra.beam.mean_power[2:] < 1e-6 * spectra.in_plane.mean_power[2:])


def test_cone_and_band_that_meet_make_up_the_whole_spectrum():
    volume = np.random.default_rng(2).normal(size=SHAPE)
    whole = power_spectrum(volume, VOXEL_SIZE)
    spectra = directional_power_spectra(volume, VOXEL_SIZE, half_angle=44.9999)
    both = spectra.beam.num_voxels + spectra.in_plane.num_voxels
    assert np.all(np.abs(both - whole.num_voxels)[1:] <= 0.05 * whole.num_voxels[1:])
    # a cone of half angle 45 degrees holds 1 - cos 45° of the sphere
    assert spectra.beam.num_voxels[1:].sum() / whole.num_voxels.sum() == pytest.approx(1 - np.sqrt(0.5), abs=0.02)
