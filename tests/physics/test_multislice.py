import math

import numpy as np
import pytest
import torch
from checks import assert_adjoint, assert_vjp_matches_jvp, random_tensor, relative_error

from dptt.physics.multislice import (
    band_limit,
    diffraction_intensity,
    far_field,
    fresnel_propagator,
    multislice,
    propagate,
)
from dptt.physics.probe import shift_probe

SHAPE, SAMPLING, WAVELENGTH, THICKNESS = (12, 17), (0.3, 0.2), 0.0418, 8.0
DOUBLE = torch.complex128


def propagator_over(distance, **more):
    return fresnel_propagator(SHAPE, SAMPLING, wavelength=WAVELENGTH, distance=distance, **more)


@pytest.fixture
def probe():
    return random_tensor(3, 2, *SHAPE, seed=1, dtype=DOUBLE)


def phase_object(num_slices):
    phase = 0.3 * random_tensor(3, num_slices, *SHAPE, seed=2)
    return torch.polar(torch.ones_like(phase), phase)


def test_vacuum_is_free_space_between_the_first_and_the_last_slice(probe):
    vacuum = torch.ones(3, 5, *SHAPE, dtype=DOUBLE)
    through = multislice(probe, vacuum, propagator_over(THICKNESS))
    assert relative_error(through, propagate(probe, propagator_over(4 * THICKNESS))) < 1e-13


def test_propagating_back_undoes_propagating(probe):
    there = propagate(probe, propagator_over(123.0))
    assert relative_error(propagate(there, propagator_over(-123.0)), probe) < 1e-13
    assert relative_error(there, probe) > 0.5


def test_a_thick_phase_object_is_undone_backwards(probe):
    transmitted, between = phase_object(4), propagator_over(THICKNESS)
    wave = multislice(probe, transmitted, between)
    for k in (3, 2, 1, 0):
        wave = wave * transmitted[:, k, None].conj()
        if k:
            wave = propagate(wave, propagator_over(-THICKNESS))
    assert relative_error(wave, probe) < 1e-13


def test_phase_objects_conserve_electrons(probe):
    intensity = diffraction_intensity(multislice(probe, phase_object(5), propagator_over(THICKNESS)))
    torch.testing.assert_close(intensity.sum((-2, -1)), probe.abs().square().sum((-3, -2, -1)), rtol=1e-13, atol=0)


def gaussian_beam(shape, sampling, width, wave_vector=(0.0, 0.0)):
    y, x = torch.meshgrid(
        *((torch.arange(n).double() - n // 2) * d for n, d in zip(shape, sampling, strict=True)), indexing="ij"
    )
    carrier = 2 * math.pi * (wave_vector[0] * y + wave_vector[1] * x)
    return torch.polar(torch.exp(-(y**2 + x**2) / width**2), carrier), y, x


def test_gaussian_beam_spreads_as_predicted():
    """|psi| of a waist w0 has after z the width w0 sqrt(1 + (z/zR)²), zR = pi w0²/lambda."""
    shape, sampling, waist, distance = (256, 231), (0.25, 0.3), 3.0, 1500.0
    wave, y, x = gaussian_beam(shape, sampling, waist)
    spread = propagate(wave, fresnel_propagator(shape, sampling, wavelength=WAVELENGTH, distance=distance))
    intensity = spread.abs().square()
    expected = waist * math.sqrt(1 + (distance * WAVELENGTH / (math.pi * waist**2)) ** 2)
    for coordinate in (y, x):
        width = 2 * torch.sqrt((intensity * coordinate**2).sum() / intensity.sum())
        assert width.item() == pytest.approx(expected, rel=1e-6)


def centre_of_mass(intensity, *coordinates):
    return [((intensity * c).sum() / intensity.sum()).item() for c in coordinates]


def test_a_wave_with_positive_frequency_moves_in_the_positive_direction():
    """A packet exp(2 pi i k r) travels at the angle lambda k: by lambda k z over z. This is the propagator's sign."""
    shape, sampling, k, distance = (150, 171), (0.25, 0.3), (0.4, -0.3), 300.0
    wave, y, x = gaussian_beam(shape, sampling, 4.0, wave_vector=k)
    moved = propagate(wave, fresnel_propagator(shape, sampling, wavelength=WAVELENGTH, distance=distance))
    expected = [WAVELENGTH * component * distance for component in k]
    np.testing.assert_allclose(centre_of_mass(moved.abs().square(), y, x), expected, rtol=1e-6)


def test_beam_tilt_moves_the_wave_towards_minus_tilt(probe):
    tilt = (20.0, -35.0)
    tilted = propagate(probe, propagator_over(THICKNESS, beam_tilt=tilt))
    pixels = [-THICKNESS * math.tan(1e-3 * t) / d for t, d in zip(tilt, SAMPLING, strict=True)]
    straight = propagate(probe, propagator_over(THICKNESS))
    moved = shift_probe(straight, *torch.tensor(pixels, dtype=torch.float64))
    assert relative_error(tilted, moved) < 1e-13


def test_exit_wave_is_the_plain_transcription_of_equation_6(probe):
    transmitted, between = phase_object(4) * torch.linspace(0.7, 1, 4)[:, None, None], propagator_over(THICKNESS)
    t, p = transmitted.numpy(), between.numpy()
    expected = np.empty(probe.shape, complex)
    for i in range(3):
        for mode in range(2):
            wave = probe[i, mode].numpy() * t[i, 0]
            for k in range(1, 4):
                wave = np.fft.ifft2(np.fft.fft2(wave) * p) * t[i, k]
            expected[i, mode] = wave
    np.testing.assert_allclose(multislice(probe, transmitted, between).numpy(), expected, rtol=0, atol=1e-13)


def test_propagator_is_the_formula_of_equation_4():
    ky, kx = np.fft.fftfreq(SHAPE[0], SAMPLING[0])[:, None], np.fft.fftfreq(SHAPE[1], SAMPLING[1])
    expected = np.exp(-1j * np.pi * WAVELENGTH * THICKNESS * (ky**2 + kx**2))
    np.testing.assert_allclose(propagator_over(THICKNESS).numpy(), expected, rtol=0, atol=1e-14)


def test_a_propagator_behind_the_last_slice_changes_no_intensity(probe):
    wave = multislice(probe, phase_object(3), propagator_over(THICKNESS))
    behind = propagate(wave, propagator_over(THICKNESS))
    assert relative_error(diffraction_intensity(behind), diffraction_intensity(wave)) < 1e-13


def test_far_field_of_a_plane_wave_is_one_bright_pixel_at_its_frequency():
    y, x = torch.meshgrid(*(torch.arange(n).double() / n for n in SHAPE), indexing="ij")
    wave = torch.polar(torch.ones(SHAPE).double(), 2 * math.pi * (2 * y - 3 * x))
    expected = torch.zeros(SHAPE, dtype=torch.float64)
    expected[2, -3] = math.prod(SHAPE)
    torch.testing.assert_close(far_field(wave).abs().square(), expected, rtol=1e-12, atol=1e-20)


def test_modes_add_as_intensities(probe):
    each = sum(far_field(probe[:, m]).abs().square() for m in range(2))
    torch.testing.assert_close(diffraction_intensity(probe), each)


@pytest.mark.parametrize("shape,sampling", [((12, 17), (0.3, 0.2)), ((15, 10), (0.2, 0.45))])
def test_band_limit_keeps_two_thirds_of_the_smaller_nyquist_frequency(shape, sampling):
    ky, kx = np.fft.fftfreq(shape[0], sampling[0])[:, None], np.fft.fftfreq(shape[1], sampling[1])
    expected = np.hypot(ky, kx) <= 2 / 3 * 0.5 / max(sampling)
    assert 1 < expected.sum() < expected.size
    np.testing.assert_array_equal(band_limit(shape, sampling).numpy(), expected)


def test_propagation_has_the_conjugate_propagator_as_adjoint():
    p = propagator_over(THICKNESS, beam_tilt=(5.0, 9.0))
    x = random_tensor(2, *SHAPE, seed=5, dtype=DOUBLE)
    assert_adjoint(lambda wave: propagate(wave, p), lambda wave: propagate(wave, p.conj()), x)


def test_jacobian_of_the_exit_wave_with_respect_to_all_slices(probe):
    assert_vjp_matches_jvp(lambda t: multislice(probe, t, propagator_over(THICKNESS)), phase_object(4))


def test_slices_of_another_size_than_the_probe_are_refused(probe):
    with pytest.raises(Exception, match="dimension|shape|type"):
        multislice(probe, phase_object(4)[..., :-1], propagator_over(THICKNESS))
