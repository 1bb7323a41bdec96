"""Half-sets: correlation that a common constraint alone makes is taken out, that of the specimen stays."""

import numpy as np
import pytest
from gaussian_particles import gaussian_atoms, random_packing

from dptt.analysis.atoms import band_pass
from dptt.analysis.correlation import fourier_shell_correlation, soft_mask
from dptt.analysis.half_sets import half_set_correlations, peak_noise_of_half_sets, randomise_phases

SHAPE, VOXEL_SIZE = (48, 52, 50), (0.4, 0.4, 0.4)
RNG = np.random.default_rng(3)
ATOMS = random_packing(40, 6.0, 2.3, RNG)
NO_CONES = np.zeros((0, 3))
SPECIMEN = gaussian_atoms(SHAPE, VOXEL_SIZE, ATOMS, np.full(40, 10.0), width=0.6)
BLURRED = gaussian_atoms(SHAPE, VOXEL_SIZE, ATOMS, np.full(40, 10.0), width=1.0)


def halves(signal, sigma):
    return [signal + np.random.default_rng(seed).normal(0, sigma, SHAPE) for seed in (11, 12)]


def sharp_mask(volume):
    """Its edge cuts through atoms, and spreads the low frequencies of whatever is in it over all others."""
    return volume * soft_mask(SHAPE, VOXEL_SIZE, 4.0, edge=0.0)


def common_support(volume):
    """As shrinkage and non-negativity do: vacuum is zero in both halves."""
    return np.where(SPECIMEN > 0.5, np.maximum(volume, 0.0), 0.0)


@pytest.mark.parametrize("constraint", [sharp_mask, common_support])
def test_what_a_constraint_alone_correlates_is_taken_out(constraint):
    """Both halves hold the specimen to 1.5 Å and nothing but independent noise beyond."""
    low = halves(BLURRED, 2.0)
    (curve,) = half_set_correlations(*low, VOXEL_SIZE, constraint, NO_CONES)
    noise = curve.corrected.frequency > 0.8
    honest = fourier_shell_correlation(*low, VOXEL_SIZE).correlation[noise].mean()
    assert abs(honest) < 0.05
    assert curve.measured[noise].mean() > 0.12, "or the constraint correlates nothing, and this test nothing"
    assert abs(curve.corrected.correlation[noise].mean() - honest) < 0.35 * curve.measured[noise].mean()


def test_the_specimen_is_not_taken_out():
    (curve,) = half_set_correlations(*halves(SPECIMEN, 1.0), VOXEL_SIZE, sharp_mask, NO_CONES)
    kept = curve.corrected.frequency < 0.35
    np.testing.assert_allclose(curve.corrected.correlation[kept], curve.measured[kept], atol=0.05)
    assert curve.corrected.correlation[kept].min() > 0.5


def test_without_a_constraint_the_correction_does_nothing_systematic():
    (curve,) = half_set_correlations(*halves(SPECIMEN, 1.0), VOXEL_SIZE, lambda volume: volume, NO_CONES)
    assert np.abs(curve.corrected.correlation - curve.measured)[5:].mean() < 0.03


def test_randomised_phases_keep_amplitudes_low_frequencies_and_realness():
    random = randomise_phases(SPECIMEN, VOXEL_SIZE, 0.4, seed=1)
    axes = [np.fft.fftfreq(n, size) for n, size in zip(SHAPE, VOXEL_SIZE, strict=True)]
    frequency = np.linalg.norm(np.stack(np.meshgrid(*axes, indexing="ij")), axis=0)
    before, after = np.fft.fftn(SPECIMEN), np.fft.fftn(random)
    scale = np.abs(before).max()
    np.testing.assert_allclose(np.abs(after), np.abs(before), atol=1e-9 * scale)
    np.testing.assert_allclose(after[frequency < 0.4], before[frequency < 0.4], atol=1e-9 * scale)
    moved = np.abs(after - before)[frequency >= 0.4].sum() / np.abs(before)[frequency >= 0.4].sum()
    assert moved > 1.0, "random phases differ by 4/pi on average"


def test_the_noise_of_a_peak_is_that_of_the_volume_of_all_data_around_it():
    """Noise that is three times stronger in one half of the box, as where fewer tilts see the specimen."""
    strength = np.where(np.arange(SHAPE[2]) < SHAPE[2] // 2, 1.0, 3.0)
    first, second = (SPECIMEN + strength * np.random.default_rng(s).normal(size=SHAPE) for s in (1, 2))
    everything = (first + second) / 2 - SPECIMEN
    true_sigma = band_pass(everything, VOXEL_SIZE, 2.0)[:, :, SHAPE[2] // 2 + 8 :].std()
    places = np.array([[0.0, 0.0, x] for x in (-7.0, -5.0, 5.0, 7.0)])
    sigma = peak_noise_of_half_sets(first, second, VOXEL_SIZE, places, 2.0)
    np.testing.assert_allclose(sigma, true_sigma * np.array([1 / 3, 1 / 3, 1, 1]), rtol=0.3)
