import math

import numpy as np
import pytest
import torch
from checks import random_tensor, relative_error

from dptt.physics.aberrations import ABERRATION_NAMES, aberration_phase
from dptt.physics.electron import wavelength
from dptt.physics.grid import spatial_frequencies
from dptt.physics.multislice import far_field, fresnel_propagator, propagate
from dptt.physics.probe import aperture, detector_shift, make_probe, probe_from_pattern

WAVELENGTH = wavelength(200e3)
SHAPE, SAMPLING = (60, 77), (0.2, 0.17)  # the windows 12.0 x 13.09 Å, frequency pixels of two sizes
OPTICS = {"wavelength": WAVELENGTH, "semiangle": 24.0}
ABERRATIONS = {"C10": -150.0, "C12": 40.0, "phi12": 25.0, "C21": 900.0, "phi21": -70.0, "C30": 2e5}


def krivanek_phase(ky, kx, name, value, axis_degrees):
    """chi = 2 pi/lambda Re[C w^((n+1+m)/2) conj(w)^((n+1-m)/2) exp(-i m phi)] / (n+1), w = lambda (kx + i ky)."""
    n, m = int(name[1]), int(name[2])
    w = WAVELENGTH * (kx + 1j * ky)
    term = w ** ((n + 1 + m) // 2) * w.conj() ** ((n + 1 - m) // 2) * np.exp(-1j * m * np.radians(axis_degrees))
    return 2 * np.pi / WAVELENGTH * value * term.real / (n + 1)


def numpy_frequencies():
    return np.fft.fftfreq(SHAPE[0], SAMPLING[0])[:, None], np.fft.fftfreq(SHAPE[1], SAMPLING[1])[None, :]


@pytest.mark.parametrize("name", [n for n in ABERRATION_NAMES if n.startswith("C")])
def test_each_aberration_is_its_complex_polynomial(name):
    coefficients = {name: 321.0}
    if name[2] != "0":
        coefficients[f"phi{name[1:]}"] = 33.0
    phase = aberration_phase(*spatial_frequencies(SHAPE, SAMPLING), WAVELENGTH, coefficients).numpy()
    np.testing.assert_allclose(phase, krivanek_phase(*numpy_frequencies(), name, 321.0, 33.0), rtol=0, atol=1e-11)


def test_aberrations_add():
    frequencies = spatial_frequencies(SHAPE, SAMPLING)
    total = aberration_phase(*frequencies, WAVELENGTH, {"C12": 50.0, "phi12": 20.0, "C30": 3e4})
    parts = [{"C12": 50.0, "phi12": 20.0}, {"C30": 3e4}]
    torch.testing.assert_close(total, sum(aberration_phase(*frequencies, WAVELENGTH, part) for part in parts))


def test_an_unknown_aberration_is_refused_by_name():
    with pytest.raises(ValueError, match=r"unknown aberrations \['C11', 'defocus'\]; expected names from C10"):
        make_probe(SHAPE, SAMPLING, **OPTICS, aberrations={"defocus": 1.0, "C10": 2.0, "C11": 3.0})


def test_probe_holds_the_electrons_it_is_given():
    probe = make_probe(SHAPE, SAMPLING, **OPTICS, aberrations=ABERRATIONS, electrons=1234.5)
    assert probe.abs().square().sum().item() == pytest.approx(1234.5, rel=1e-12)


@pytest.mark.parametrize("shape", [(60, 77), (61, 76)])
def test_focused_probe_peaks_at_the_centre_and_is_positive_there(shape):
    probe = make_probe(shape, SAMPLING, **OPTICS)
    peak = np.unravel_index(probe.abs().argmax().item(), shape)
    assert peak == (shape[0] // 2, shape[1] // 2)
    assert probe[peak].real > 0 and abs(probe[peak].imag) < 1e-12 * probe[peak].real


def test_underfocused_probe_is_focused_by_propagating_forward():
    """200 Å of underfocus, C10 = -200 Å, and 200 Å of free space are a focused probe with the other aberrations."""
    others = {"C12": 40.0, "phi12": 25.0, "C30": 2e5}
    underfocused = make_probe(SHAPE, SAMPLING, **OPTICS, aberrations={"C10": -200.0, **others})
    propagator = fresnel_propagator(SHAPE, SAMPLING, wavelength=WAVELENGTH, distance=200.0)
    focused = make_probe(SHAPE, SAMPLING, **OPTICS, aberrations=others)
    assert relative_error(propagate(underfocused, propagator), focused) < 1e-11


def test_probe_is_the_aperture_with_minus_chi():
    probe = make_probe(SHAPE, SAMPLING, **OPTICS, aberrations=ABERRATIONS)
    spectrum = np.fft.fft2(np.fft.ifftshift(probe.numpy()))
    chi = sum(
        krivanek_phase(*numpy_frequencies(), name, ABERRATIONS[name], ABERRATIONS.get(f"phi{name[1:]}", 0.0))
        for name in ABERRATIONS
        if name.startswith("C")
    )
    bright = aperture(*spatial_frequencies(SHAPE, SAMPLING), **OPTICS).numpy()
    expected = bright * np.exp(-1j * chi)
    np.testing.assert_allclose(spectrum / np.linalg.norm(spectrum), expected / np.linalg.norm(expected), atol=1e-12)


def area(shape, sampling, soft):
    ky, kx = spatial_frequencies(shape, sampling)
    pixel = 1 / (shape[0] * sampling[0] * shape[1] * sampling[1])
    return aperture(ky, kx, **OPTICS, soft=soft).sum().item() * pixel


@pytest.mark.parametrize("shape,sampling", [((60, 77), (0.2, 0.17)), ((61, 140), (0.2, 0.21))])
def test_soft_aperture_has_the_area_of_the_circle_where_a_hard_one_is_ragged(shape, sampling):
    circle = math.pi * (1e-3 * OPTICS["semiangle"] / WAVELENGTH) ** 2
    assert area(shape, sampling, soft=True) == pytest.approx(circle, rel=4e-3)
    assert area(shape, sampling, soft=False) == pytest.approx(circle, rel=5e-2)


def test_hard_aperture_is_one_within_the_semiangle_and_zero_beyond():
    ky, kx = spatial_frequencies(SHAPE, SAMPLING)
    inside = 1e3 * WAVELENGTH * torch.hypot(*torch.broadcast_tensors(ky, kx)) <= OPTICS["semiangle"]
    assert torch.equal(aperture(ky, kx, **OPTICS, soft=False), inside.double())


@pytest.mark.parametrize("axis", [0, 1])
def test_soft_edge_is_one_pixel_wide_along_both_axes_of_an_anisotropic_window(axis):
    shape, sampling = (61, 140), (0.2, 0.21)
    frequencies = spatial_frequencies(shape, sampling)
    pixel = 1e3 * WAVELENGTH / (shape[axis] * sampling[axis])
    at_edge = 9 * pixel  # the ninth pixel lies on the edge: half; its neighbours are full and empty
    along = aperture(*frequencies, WAVELENGTH, at_edge).select(1 - axis, 0)[8:11]
    torch.testing.assert_close(along, torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64), rtol=0, atol=1e-12)
    quarter = aperture(*frequencies, WAVELENGTH, at_edge + 0.25 * pixel).select(1 - axis, 0)[8:11]
    torch.testing.assert_close(quarter, torch.tensor([1.0, 0.75, 0.0], dtype=torch.float64), rtol=0, atol=1e-12)


def test_an_empty_aperture_is_refused():
    with pytest.raises(ValueError, match="aperture of -1.0 mrad is empty"):
        make_probe(SHAPE, SAMPLING, wavelength=WAVELENGTH, semiangle=-1.0)


def test_probe_comes_in_the_precision_asked_for():
    single = make_probe(SHAPE, SAMPLING, **OPTICS, aberrations=ABERRATIONS, dtype=torch.complex64)
    assert single.dtype == torch.complex64
    assert relative_error(single, make_probe(SHAPE, SAMPLING, **OPTICS, aberrations=ABERRATIONS)) < 1e-7


def test_probe_of_its_own_pattern_is_itself():
    probe = make_probe(SHAPE, SAMPLING, **OPTICS, aberrations=ABERRATIONS, electrons=321.0)
    pattern = far_field(probe).abs().square()
    recovered = probe_from_pattern(pattern, SAMPLING, **OPTICS, aberrations=ABERRATIONS)
    assert relative_error(recovered, probe) < 1e-12


def test_scattered_electrons_of_a_pattern_go_into_the_disk_of_its_probe():
    pattern = far_field(make_probe(SHAPE, SAMPLING, **OPTICS)).abs().square()
    pattern[0, 3] *= 0.5  # uneven illumination within the disk is kept
    scattered = pattern + 1e-4 * random_tensor(*SHAPE, seed=3).abs() * (pattern < 1e-20)
    probe = probe_from_pattern(scattered, SAMPLING, **OPTICS)
    disk = far_field(probe).abs().square()
    angle = 1e3 * WAVELENGTH * torch.hypot(*torch.broadcast_tensors(*spatial_frequencies(SHAPE, SAMPLING)))
    assert disk.sum().item() == pytest.approx(scattered.sum().item(), rel=1e-12)
    assert disk[angle > OPTICS["semiangle"] + 1.5e3 * WAVELENGTH / 12.0].max() < 1e-25  # 12 Å: the larger pixel
    ratio = disk[pattern > 1e-20] / scattered[pattern > 1e-20]
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-10, atol=0)


@pytest.mark.parametrize("shape", [(9, 14), (10, 13)])
def test_an_exit_wave_is_turned_so_that_its_pattern_moves(shape):
    """By whole pixels exactly, and as far as the pattern of a narrow wave is known, between them."""
    wave = random_tensor(*shape, seed=1, dtype=torch.complex128)
    pattern = torch.fft.fft2(wave).abs()
    moved = torch.fft.fft2(
        wave * detector_shift(shape, torch.tensor(2.0).double(), torch.tensor(-3.0).double())
    ).abs()
    torch.testing.assert_close(moved, pattern.roll((2, -3), (0, 1)), rtol=0, atol=1e-12)
    half = [detector_shift(shape, torch.tensor(1.0).double(), torch.tensor(-1.5).double())] * 2
    torch.testing.assert_close(torch.fft.fft2(wave * half[0] * half[1]).abs(), moved, rtol=0, atol=1e-12)
