import numpy as np
import pytest

from dptt.analysis.correlation import (
    FourierShellCorrelation,
    fourier_shell_correlation,
    information_threshold,
    soft_mask,
)

SHAPE, VOXEL_SIZE = (27, 32, 41), (0.5, 0.4, 0.3)


def transcribed_fsc(a, b, voxel_size, width):
    """The definition: normalised inner product over the voxels of each shell, as in ttfsc (BSD-3)."""
    k = np.meshgrid(*(np.fft.fftfreq(n, s) for n, s in zip(a.shape, voxel_size, strict=True)), indexing="ij")
    shell = np.round(np.sqrt(k[0] ** 2 + k[1] ** 2 + k[2] ** 2) / width)
    fa, fb = np.fft.fftn(a), np.fft.fftn(b)
    values = []
    for number in range(int(0.5 / max(voxel_size) / width) + 1):
        one, two = fa[shell == number], fb[shell == number]
        values.append(np.vdot(two, one).real / (np.linalg.norm(one) * np.linalg.norm(two)))
    return np.array(values)


def filtered(volume, voxel_size, transfer):
    k = np.meshgrid(*(np.fft.fftfreq(n, s) for n, s in zip(volume.shape, voxel_size, strict=True)), indexing="ij")
    return np.fft.ifftn(np.fft.fftn(volume) * transfer(np.sqrt(sum(axis**2 for axis in k)))).real


def made_up_curve(correlation, num_voxels=1000):
    n = len(correlation)
    return FourierShellCorrelation(
        np.arange(n) * 0.1, np.array(correlation), np.full(n, num_voxels), np.full(n, num_voxels / 2), (n - 1) * 0.1
    )


def test_volume_correlates_perfectly_with_itself_and_with_its_multiple():
    volume = np.random.default_rng(0).normal(size=SHAPE)
    assert np.allclose(fourier_shell_correlation(volume, volume, VOXEL_SIZE).correlation, 1)
    assert np.allclose(fourier_shell_correlation(volume, -3 * volume, VOXEL_SIZE).correlation, -1)


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_independent_noise_correlates_as_one_over_root_n(kind):
    rng = np.random.default_rng(1)
    normalised = []
    for _ in range(10):
        a, b = rng.normal(size=(2, *SHAPE))
        if kind == "complex":
            a, b = a + 1j * rng.normal(size=SHAPE), b + 1j * rng.normal(size=SHAPE)
        fsc = fourier_shell_correlation(a, b, VOXEL_SIZE)
        # the real part of n independent complex products has variance 1 / 2n
        normalised.append((fsc.correlation * np.sqrt(2 * fsc.num_independent))[2:])
    assert np.abs(normalised).max() < 4
    assert np.std(normalised) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_curve_agrees_with_the_definition_written_out(kind):
    rng = np.random.default_rng(3)
    a = rng.normal(size=SHAPE) + (1j * rng.normal(size=SHAPE) if kind == "complex" else 0)
    b = a + 0.7 * rng.normal(size=SHAPE)
    fsc = fourier_shell_correlation(a, b, VOXEL_SIZE)
    expected = transcribed_fsc(a, b, VOXEL_SIZE, width=fsc.frequency[1])
    assert len(fsc.frequency) == len(expected)
    assert np.allclose(fsc.correlation, expected, atol=1e-12)


def test_shells_of_a_cube_are_one_fourier_pixel_wide_and_end_at_nyquist():
    volume = np.random.default_rng(4).normal(size=(20, 20, 20))
    fsc = fourier_shell_correlation(volume, volume, (0.5, 0.5, 0.5))
    assert np.allclose(fsc.frequency, np.arange(11) * 0.1)
    assert fsc.nyquist == 1.0
    assert fsc.num_voxels[0] == 1 and fsc.num_voxels[1] == 18


def test_number_of_shells_can_be_chosen():
    volume = np.random.default_rng(4).normal(size=SHAPE)
    fsc = fourier_shell_correlation(volume, volume, VOXEL_SIZE, num_shells=6)
    assert np.allclose(fsc.frequency, np.linspace(0, 1.0, 6))
    with pytest.raises(ValueError, match="num_shells is 1; expected at least 2"):
        fourier_shell_correlation(volume, volume, VOXEL_SIZE, num_shells=1)


def test_two_halves_of_known_snr_correlate_as_snr_over_one_plus_snr():
    rng = np.random.default_rng(5)
    shape, voxel_size = (45, 48, 51), (0.4, 0.4, 0.4)

    def snr(k):
        return 4 * np.exp(-((k / 0.7) ** 2))

    signal = filtered(rng.normal(size=shape), voxel_size, lambda k: np.sqrt(snr(k)))
    fsc = fourier_shell_correlation(signal + rng.normal(size=shape), signal + rng.normal(size=shape), voxel_size)
    expected = snr(fsc.frequency) / (1 + snr(fsc.frequency))
    deviation = (fsc.correlation - expected)[3:] * np.sqrt(fsc.num_voxels[3:])
    assert np.abs(deviation).max() < 4


@pytest.mark.parametrize(
    ("against_truth", "snr_at_half"), [(False, 1.0), (True, 1 / 3)], ids=["two halves", "against the truth"]
)
def test_crossing_of_a_gaussian_signal_in_white_noise_is_where_theory_says(against_truth, snr_at_half):
    rng = np.random.default_rng(6)
    shape, voxel_size, peak_snr, width = (61, 64, 67), (0.4, 0.4, 0.4), 30.0, 0.35
    signal = filtered(
        rng.normal(size=shape), voxel_size, lambda k: np.sqrt(peak_snr) * np.exp(-0.5 * (k / width) ** 2)
    )
    half = signal + rng.normal(size=shape)
    other = signal if against_truth else signal + rng.normal(size=shape)
    found = fourier_shell_correlation(half, other, voxel_size).resolution(0.5)
    expected = 1 / (width * np.sqrt(np.log(peak_snr / snr_at_half)))
    assert found.full_period == pytest.approx(expected, rel=0.02)
    assert not found.at_nyquist


def test_information_curves_are_the_published_formulas():
    n = np.array([1.0, 10.0, 333.0, 1e6])
    one_bit = (0.5 + 2.4142 / np.sqrt(n)) / (1.5 + 1.4142 / np.sqrt(n))
    half_bit = (0.2071 + 1.9102 / np.sqrt(n)) / (1.2071 + 0.9102 / np.sqrt(n))
    assert np.allclose(information_threshold(n, 1.0), one_bit, atol=1e-4)
    assert np.allclose(information_threshold(n, 0.5), half_bit, atol=1e-4)


def test_effective_voxels_follow_object_size_and_symmetry():
    fsc = made_up_curve([1.0, 0.9], num_voxels=800)
    assert np.allclose(fsc.threshold("one-bit"), information_threshold(np.array([400.0]), 1.0))
    assert np.allclose(fsc.threshold("one-bit", object_fraction=1 / 3), information_threshold(np.array([100.0]), 1.0))
    assert np.allclose(fsc.threshold("one-bit", symmetry=4), information_threshold(np.array([100.0]), 1.0))
    assert np.allclose(fsc.threshold("one-bit", object_fraction=1.0), fsc.threshold("one-bit"))
    assert np.allclose(fsc.threshold(0.143), 0.143)
    with pytest.raises(ValueError, match="expected a number, 'one-bit' or 'half-bit'"):
        fsc.threshold("two-bit")


def test_crossing_is_interpolated_between_shells():
    assert made_up_curve([1.0, 0.9, 0.7, 0.3, 0.1]).resolution(0.5).full_period == pytest.approx(1 / 0.25)


def test_curve_that_never_crosses_reports_nyquist_with_a_flag():
    resolution = made_up_curve([1.0, 0.9, 0.8, 0.7, 0.6]).resolution(0.5)
    assert resolution.at_nyquist
    assert resolution.full_period == pytest.approx(1 / 0.4)


def test_curve_that_is_never_above_resolves_nothing():
    resolution = made_up_curve([0.1, 0.0, 0.2, 0.1]).resolution(0.5)
    assert resolution.full_period == np.inf
    assert not resolution.at_nyquist


def test_dip_in_a_shell_of_few_voxels_is_no_crossing():
    fsc = made_up_curve([1.0, 0.2, 0.9, 0.8, 0.2])
    fsc.num_voxels[:2] = 1, 18
    assert fsc.resolution(0.5).full_period == pytest.approx(1 / 0.35)
    with pytest.raises(ValueError, match="no shell has 5000 voxels, the largest has 1000"):
        fsc.resolution(0.5, min_voxels=5000)


def test_volumes_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"shapes \(3, 4, 5\) and \(3, 4, 6\)"):
        fourier_shell_correlation(np.ones((3, 4, 5)), np.ones((3, 4, 6)), VOXEL_SIZE)


def test_soft_mask_is_a_sphere_about_the_centre_with_a_cosine_edge():
    mask = soft_mask((25, 30, 35), (0.5, 0.4, 0.3), radius=2.0, edge=1.0)
    assert mask[12, 15, 17] == 1 and mask[12, 15 + 5, 17] == 1
    assert mask[12, 15, 17 + 10] == pytest.approx(0, abs=1e-12)
    assert mask[12 + 5, 15, 17] == pytest.approx(0.5)
    assert soft_mask((25, 30, 35), (0.5, 0.4, 0.3), radius=2.0, edge=0.0).sum() * 0.06 == pytest.approx(
        4 / 3 * np.pi * 8, rel=0.03
    )


def test_soft_mask_cylinder_has_no_end_along_its_axis():
    mask = soft_mask((25, 30, 35), (0.5, 0.4, 0.3), radius=2.0, edge=1.0, cylinder_axis="y")
    assert np.all(mask == mask[:, :1, :])
    assert mask[0, 15, 17] == 0 and mask[12, 0, 17] == 1
