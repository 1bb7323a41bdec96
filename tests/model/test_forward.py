"""The model of [P] eq. 14-15 against an independent transcription, and its derivatives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from checks import assert_vjp_matches_jvp, random_tensor, relative_error

from dptt.model.forward import Geometry, exit_waves, model_intensity, tilted_slices
from dptt.physics.electron import interaction_constant, wavelength
from dptt.physics.rotation import rotate_volume, sampling_map

GEOMETRY = Geometry(300e3, (6, 14, 17), (0.9, 0.45, 0.4), (9, 8), 3)
ANGLES, TRANSLATION = (3.0, -22.0, 8.0), (0.31, -0.17)


def tensor(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def example(geometry=GEOMETRY, num_modes=2, num_positions=4, kind="real"):
    real = 400 * random_tensor(*geometry.volume_shape, seed=1)
    volume = torch.complex(real, 80 * random_tensor(*geometry.volume_shape, seed=2)) if kind == "complex" else real
    probe = random_tensor(num_modes, *geometry.window_shape, seed=3, dtype=torch.complex128)
    positions = 0.6 * random_tensor(num_positions, 2, seed=4)
    return volume, probe, positions, tensor(*ANGLES), tensor(*TRANSLATION)


def transcribed_intensity(volume, probe, positions, angles, translation, g):
    """[P] eq. 14-15 in NumPy, one position and one mode at a time; eq. 12 is tested by itself."""
    voxel, centre = np.array(g.voxel_size), np.array(g.volume_shape) // 2
    map_ = sampling_map(torch.from_numpy(angles), torch.from_numpy(translation), g.voxel_size)
    tilted = rotate_volume(torch.from_numpy(volume), map_).numpy()
    slices = tilted.reshape(g.num_slices, -1, *tilted.shape[1:]).sum(1) * voxel[0]
    (wy, wx), lam = g.window_shape, wavelength(g.energy)
    thickness = g.volume_shape[0] / g.num_slices * voxel[0]
    ky, kx = np.fft.fftfreq(wy)[:, None], np.fft.fftfreq(wx)
    fresnel = np.exp(-1j * np.pi * lam * thickness * ((ky / voxel[1]) ** 2 + (kx / voxel[2]) ** 2))
    intensity = np.zeros((len(positions), wy, wx))
    for i, (py, px) in enumerate(positions / voxel[1:]):
        y, x = round(py), round(px)
        rows = np.arange(wy) - wy // 2 + centre[1] + y
        columns = np.arange(wx) - wx // 2 + centre[2] + x
        ramp = np.exp(-2j * np.pi * (ky * (py - y) + kx * (px - x)))
        for mode in probe:
            wave = np.fft.ifft2(np.fft.fft2(mode) * ramp)
            for k, layer in enumerate(slices):
                if k:
                    wave = np.fft.ifft2(np.fft.fft2(wave) * fresnel)
                wave = wave * np.exp(1j * interaction_constant(g.energy) * layer[np.ix_(rows % 14, columns % 17)])
            intensity[i] += np.abs(np.fft.fft2(wave)) ** 2 / (wy * wx)
    return intensity


@pytest.mark.parametrize("window,num_slices", [((9, 8), 3), ((8, 11), 1), ((13, 7), 6)])
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_intensity_is_the_plain_transcription_of_equations_14_and_15(kind, window, num_slices):
    geometry = replace(GEOMETRY, window_shape=window, num_slices=num_slices)
    arguments = example(geometry, kind=kind)
    expected = transcribed_intensity(*(a.numpy() for a in arguments), geometry)
    np.testing.assert_allclose(model_intensity(*arguments, geometry).numpy(), expected, rtol=1e-10, atol=1e-12)


def test_a_phase_object_loses_no_electron():
    volume, probe, *others = example()
    electrons = model_intensity(volume, probe, *others, GEOMETRY).sum((1, 2))
    torch.testing.assert_close(electrons, probe.abs().square().sum().expand(4), rtol=1e-13, atol=0)


def test_moving_specimen_and_scan_together_changes_no_pattern():
    """The signs of positions and translation agree: tau + d and p + d see what tau and p saw."""
    volume, probe, positions, angles, translation = example(num_modes=1)
    step = tensor(2 * 0.45, -3 * 0.4)
    # Nothing may leave the image on the way: a specimen of a few voxels about the axis.
    small = volume * (torch.arange(14) - 7).abs().lt(2)[:, None] * (torch.arange(17) - 8).abs().lt(2)
    before = model_intensity(small, probe, positions, angles, translation, GEOMETRY)
    after = model_intensity(small, probe, positions + step, angles, translation + step, GEOMETRY)
    assert relative_error(after, before) < 0.03, (
        "fractions of voxels are interpolated otherwise, and this volume is white noise"
    )
    opposite = model_intensity(small, probe, positions - step, angles, translation + step, GEOMETRY)
    assert relative_error(opposite, before) > 0.05


CHECK = {"eps": 1e-5, "rtol": 1e-6, "atol": 1e-12, "fast_mode": True}
"""Derivatives along random directions, in which every entry takes part: an entry alone takes twenty times longer."""
TINY = Geometry(300e3, (4, 5, 7), (0.9, 0.45, 0.4), (3, 4), 2)


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_derivatives_by_volume_probe_positions_angles_and_translation(kind):
    variables = [v.requires_grad_() for v in example(TINY, num_positions=2, kind=kind)]
    assert torch.autograd.gradcheck(lambda *v: model_intensity(*v, TINY), variables, **CHECK)


def test_jacobian_of_the_exit_waves_by_the_volume():
    volume, *others = example(kind="complex")
    assert_vjp_matches_jvp(lambda v: exit_waves(v, *others, GEOMETRY), volume)


def test_slices_of_the_untilted_volume_are_its_planes():
    volume, *_ = example()
    slices = tilted_slices(volume, tensor(0, 0, 0), tensor(0, 0), replace(GEOMETRY, num_slices=6))
    torch.testing.assert_close(slices, 0.9 * volume, rtol=1e-13, atol=1e-10)


def test_geometry_measures_slices_in_angstrom():
    assert GEOMETRY.sampling == (0.45, 0.4)
    assert GEOMETRY.slice_thickness == pytest.approx(1.8)
    assert (GEOMETRY.wavelength, GEOMETRY.sigma) == (wavelength(300e3), interaction_constant(300e3))


@pytest.mark.parametrize("planes,num_slices", [(6, 3), (9, 3), (8, 8), (10, 1)])
def test_first_slice_lies_at_the_mean_depth_of_its_planes(planes, num_slices):
    geometry = Geometry(300e3, (planes, 14, 17), (0.9, 0.45, 0.4), (9, 8), num_slices)
    depths = (np.arange(planes) - planes // 2) * 0.9
    assert geometry.first_slice_depth == pytest.approx(depths[: planes // num_slices].mean())


def test_propagator_of_the_geometry_is_that_of_its_window():
    propagator = GEOMETRY.propagator(12.0, torch.complex128)
    ky, kx = np.fft.fftfreq(9, 0.45)[:, None], np.fft.fftfreq(8, 0.4)
    expected = np.exp(-1j * np.pi * wavelength(300e3) * 12.0 * (ky**2 + kx**2))
    np.testing.assert_allclose(propagator.numpy(), expected, rtol=0, atol=1e-13)


def test_slices_must_divide_the_planes():
    with pytest.raises(ValueError, match="10 planes cannot be cut into 4 equal slices"):
        Geometry(300e3, (10, 14, 17), (0.9, 0.45, 0.4), (9, 8), 4)


PADDED = replace(GEOMETRY, window_shape=(27, 24), pixels=(42, 51))
TINY_PADDED = Geometry(300e3, (4, 6, 8), (0.9, 0.45, 0.4), (3, 6), 2, pixels=(9, 12))


def test_padding_makes_pixels_finer_and_keeps_lengths():
    assert PADDED.sampling == pytest.approx((0.15, 0.4 / 3))
    assert PADDED.on_voxels == GEOMETRY
    with pytest.raises(ValueError, match=r"26, 24.*42, 51.*no whole number of the \(14, 17\) voxels"):
        replace(PADDED, window_shape=(26, 24))


def test_padded_slices_are_the_band_limited_function_of_the_voxels():
    volume, _, _, angles, translation = example()
    slices = tilted_slices(volume, angles, translation, PADDED)
    alternating = (-1.0) ** torch.arange(14, dtype=torch.float64)[:, None]
    without_nyquist = slices - alternating * (alternating * slices).mean(1, keepdim=True)
    fine = PADDED.refined(slices)
    torch.testing.assert_close(fine[:, 0::3, 1::3], without_nyquist, rtol=1e-10, atol=1e-8)


def test_a_padded_wave_is_that_of_a_finer_volume():
    """Without turning: the same potential on finer voxels, which the model without padding takes as it is."""
    volume, probe, positions, *_ = example(PADDED)
    slices = tilted_slices(volume, tensor(0, 0, 0), tensor(0, 0), PADDED)
    finer = replace(PADDED, volume_shape=(3, 42, 51), voxel_size=(1.8, *PADDED.sampling), pixels=None)
    nothing = tensor(0, 0, 0), tensor(0, 0)
    padded = model_intensity(volume, probe, positions, *nothing, PADDED)
    expected = model_intensity(PADDED.refined(slices) / 1.8, probe, positions, *nothing, finer)
    torch.testing.assert_close(padded, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_derivatives_with_padding(kind):
    variables = [v.requires_grad_() for v in example(TINY_PADDED, num_positions=2, kind=kind)]
    function = lambda *v: model_intensity(*v, TINY_PADDED)  # noqa: E731
    assert torch.autograd.gradcheck(function, variables, **CHECK)
