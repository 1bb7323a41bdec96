"""Probe and multislice agree with abTEM, which is an independent program with arrays (x, y) and angles in radians."""

import math

import numpy as np
import pytest
import torch

from dptt.physics.electron import interaction_constant, wavelength
from dptt.physics.multislice import band_limit, fresnel_propagator, multislice, propagate
from dptt.physics.potential import transmission
from dptt.physics.probe import make_probe

ENERGY = 200e3
SHAPE, EXTENT = (92, 77), (18.0, 13.0)  # (y, x); even and odd, pixels of two sizes, none on the rim of the band
SAMPLING = (EXTENT[0] / SHAPE[0], EXTENT[1] / SHAPE[1])
ABERRATIONS = {"C10": -120.0, "C12": 30.0, "phi12": 25.0, "C21": 900.0, "phi21": -70.0, "C23": 700.0, "phi23": 15.0}
ABERRATIONS |= {"C30": 2e5}


@pytest.fixture(autouse=True)
def abtem():
    """abTEM, imported by the process that runs these tests and by no other: it takes some seconds."""
    abtem = pytest.importorskip("abtem", reason="abTEM is not installed: no independent program to compare with")
    # A sharp band limit, because a tapered one is abTEM's own; double precision, to see more than rounding.
    with abtem.config.set({"device": "cpu", "precision": "float64", "antialias.taper": 0.0}):
        yield abtem


def abtem_probe(abtem, soft: bool):
    radians = {name: math.radians(c) if name.startswith("phi") else c for name, c in ABERRATIONS.items()}
    return abtem.Probe(
        energy=ENERGY,
        semiangle_cutoff=22.0,
        extent=EXTENT[::-1],
        gpts=SHAPE[::-1],
        soft=soft,
        aberrations=radians,
    )


def centre_in_abtem() -> tuple[float, float]:
    return (SHAPE[1] // 2 * SAMPLING[1], SHAPE[0] // 2 * SAMPLING[0])


def our_probe(soft: bool) -> torch.Tensor:
    return make_probe(
        SHAPE,
        SAMPLING,
        wavelength=wavelength(ENERGY),
        semiangle=22.0,
        aberrations=ABERRATIONS,
        soft_aperture=soft,
    )


def relative_error(ours: torch.Tensor, theirs: np.ndarray) -> float:
    theirs = torch.from_numpy(np.asarray(theirs).T.copy())
    theirs = theirs * torch.linalg.vector_norm(ours) / torch.linalg.vector_norm(theirs)  # it counts in other units
    return float(torch.linalg.vector_norm(ours - theirs) / torch.linalg.vector_norm(ours))


def test_wavelength_and_interaction_constant_agree(abtem):
    assert wavelength(ENERGY) == pytest.approx(abtem.core.energy.energy2wavelength(ENERGY), rel=1e-6)
    assert interaction_constant(ENERGY) == pytest.approx(abtem.core.energy.energy2sigma(ENERGY), rel=1e-6)


@pytest.mark.parametrize("soft", [True, False])
def test_aberrated_probe_agrees(abtem, soft):
    theirs = abtem_probe(abtem, soft).build(scan=centre_in_abtem(), lazy=False).array
    assert relative_error(our_probe(soft), theirs) < 1e-4


def test_the_agreement_of_the_probe_notices_a_turned_astigmatism(abtem):
    theirs = abtem_probe(abtem, True).build(scan=centre_in_abtem(), lazy=False).array
    turned = {**ABERRATIONS, "phi12": -ABERRATIONS["phi12"]}
    ours = make_probe(SHAPE, SAMPLING, wavelength=wavelength(ENERGY), semiangle=22.0, aberrations=turned)
    assert relative_error(ours, theirs) > 0.1


def test_exit_wave_of_a_thick_specimen_agrees(abtem):
    generator = np.random.default_rng(3)
    smooth = np.fft.fft2(generator.normal(size=(7, *SHAPE)))
    ky, kx = np.fft.fftfreq(SHAPE[0], SAMPLING[0])[:, None], np.fft.fftfreq(SHAPE[1], SAMPLING[1])
    slices = np.fft.ifft2(smooth * np.exp(-(ky**2 + kx**2))).real
    slices *= 400 / slices.std()  # [V Å]: a phase of some 0.3 rad in each slice
    thickness = 3.0
    potential = abtem.PotentialArray(
        np.ascontiguousarray(slices.transpose(0, 2, 1)), slice_thickness=thickness, sampling=SAMPLING[::-1]
    )
    waves = abtem_probe(abtem, True).build(scan=centre_in_abtem(), lazy=False)
    theirs = waves.multislice(potential).compute().array

    limit = band_limit(SHAPE, SAMPLING).to(torch.complex128)
    between = fresnel_propagator(SHAPE, SAMPLING, wavelength=wavelength(ENERGY), distance=thickness) * limit
    transmitted = propagate(transmission(torch.from_numpy(slices), interaction_constant(ENERGY)), limit)
    exit_wave = multislice(our_probe(True)[None], transmitted, between)
    ours = propagate(exit_wave, between)[0]  # abTEM propagates behind the last slice as well
    assert relative_error(ours, theirs) < 1e-4
    assert relative_error(our_probe(True), theirs) > 0.3  # the specimen is no small thing
