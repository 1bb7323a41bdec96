"""The forward model fed with a third party's slices gives that party's patterns."""

import h5py
import pytest
import torch

from dptt.physics.electron import interaction_constant, wavelength
from dptt.physics.multislice import diffraction_intensity, fresnel_propagator, multislice
from dptt.physics.patches import extract_patches, split_positions
from dptt.physics.potential import transmission
from dptt.physics.probe import make_probe, shift_probe

ENERGY, CELL, PIXELS, THICKNESS = 300e3, 9.6, 72, 2.0  # eV, Å, pixels of the wave, Å


@pytest.fixture(scope="module")
def modelled_and_measured(shared_data):
    """Patterns (pos, ky, kx) in corner order of every scan position at zero tilt, arrays turned to (y, x)."""
    with h5py.File(shared_data / "mset_auNP_4dstem_tilt_sim" / "mset_auNP_4dstem_tilt.h5") as file:
        zero = int(abs(file["tilt_deg"][()]).argmin())
        measured = torch.from_numpy(file["data"][zero].transpose(1, 0, 3, 2)).double().reshape(576, 24, 24)
        slices = torch.from_numpy(file["gt/slices_0deg_V_A"][()].transpose(2, 1, 0).copy()).double()
    pixel = CELL / PIXELS
    grid = {"shape": (PIXELS, PIXELS), "sampling": (pixel, pixel)}
    optics = {"wavelength": wavelength(ENERGY), "semiangle": 21.0, "aberrations": {"C10": 200.0}}
    probe = make_probe(**grid, **optics, electrons=333.0, soft_aperture=False)[None]
    steps = torch.arange(24, dtype=torch.float64) * 0.4
    # The probe at (0, 0) of the cell: window centre n//2 on pixel 0 of the image, -n//2 pixels from its centre.
    positions = torch.cartesian_prod(steps, steps) - (PIXELS // 2) * pixel
    corners, shifts = split_positions(positions, (pixel, pixel), (PIXELS, PIXELS), (PIXELS, PIXELS))
    propagator = fresnel_propagator(**grid, wavelength=wavelength(ENERGY), distance=THICKNESS)
    transmitted = transmission(slices, interaction_constant(ENERGY))
    modelled = []
    for chunk in torch.arange(576).split(64):
        patches = extract_patches(transmitted, corners[chunk], (PIXELS, PIXELS))
        shifted = shift_probe(probe, shifts[chunk, None, 0], shifts[chunk, None, 1])
        intensity = torch.fft.fftshift(diffraction_intensity(multislice(shifted, patches, propagator)), dim=(1, 2))
        modelled.append(intensity[:, 24:48, 24:48])
    return torch.cat(modelled), measured


def amplitude_misfit(modelled, measured):
    return ((modelled.sqrt() - measured.sqrt()).abs().sum() / measured.sqrt().sum()).item()


def test_patterns_at_zero_tilt_agree_to_a_thousandth_in_amplitude(modelled_and_measured):
    assert amplitude_misfit(*modelled_and_measured) <= 1e-3


def test_an_exchange_of_x_and_y_would_be_noticed(modelled_and_measured):
    modelled, measured = modelled_and_measured
    exchanged = measured.reshape(24, 24, 24, 24).permute(1, 0, 2, 3).reshape(576, 24, 24)
    assert amplitude_misfit(modelled, exchanged) > 0.02
