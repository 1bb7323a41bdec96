"""The derivatives of patterns by errors of the experiment are those of the reference model."""

from dataclasses import replace

import pytest
import torch
from checks import random_tensor, relative_error
from small_series import GEOMETRY, focused_probe, scan

from dptt.kernels import Batch, multislice_loss
from dptt.model.calibration import focus_change
from dptt.model.forward import model_intensity
from dptt.model.losses import Misfit
from dptt.physics.patches import split_positions
from dptt.physics.potential import transmission
from dptt.solvers.tomography.sensitivities import (
    BACKGROUND,
    BLUR,
    DESCAN,
    DIRECTIONS,
    FOCUS,
    STRETCH,
    pattern_response,
)

FLAT = torch.zeros(3).double(), torch.zeros(2).double()
POSITIONS = scan((2, 3), 1.3)
SITES = 1.5 * random_tensor(5, 3, seed=4)
PATTERN_SHIFTS = 0.8 * random_tensor(6, 2, seed=6)
MASK = torch.ones(GEOMETRY.window_shape, dtype=torch.bool)
MASK[2, 3] = MASK[-1] = False

VARIANCE = 0.25


def slices(deformation=None, centre=(0.0, 0.0)):
    """Return smooth atoms [V Å] in every slice, deformed by 1 + M about `centre` (y, x) [pixels]."""
    inverse = torch.linalg.inv(torch.eye(2).double() + (0 if deformation is None else deformation))
    y, x = torch.meshgrid(*(torch.arange(n).double() - n // 2 for n in GEOMETRY.volume_shape[1:]), indexing="ij")
    place = torch.stack([y - centre[0], x - centre[1]], -1) @ inverse.T + torch.tensor(centre).double()
    images = torch.zeros((GEOMETRY.num_slices, *GEOMETRY.volume_shape[1:]), dtype=torch.float64)
    for number, site in enumerate(SITES):
        squared = (place - site[1:] / 0.5).square().sum(-1)
        images[number % len(images)] += 60 * torch.exp(-squared / (2 * 2.4**2))
    return images


def batch(images, positions=POSITIONS, probe=None, shifts=PATTERN_SHIFTS, measured=None):
    corners, remainders = split_positions(
        positions, GEOMETRY.sampling, GEOMETRY.volume_shape[1:], GEOMETRY.window_shape
    )
    probe = focused_probe() if probe is None else probe
    if measured is None:
        measured = torch.poisson(torch.full((6, *GEOMETRY.window_shape), 50.0), torch.Generator().manual_seed(0))
    return Batch(
        transmission(images, GEOMETRY.sigma).to(torch.complex128),
        probe,
        corners,
        remainders,
        measured.double(),
        GEOMETRY.propagator(GEOMETRY.slice_thickness, torch.complex128),
        Misfit("poisson", 0.4, MASK, blur=VARIANCE),
        1.0,
        shifts,
    )


def response(given):
    return pattern_response(given, wavelength=GEOMETRY.wavelength, sampling=GEOMETRY.sampling, curvature=4.0, chunk=4)


def by_differences(change, step=1e-4):
    """Return the derivative of the loss by the argument of `change`, which makes a batch."""
    above, below = (multislice_loss(change(sign * step)).item() for sign in (1, -1))
    return (above - below) / (2 * step)


@pytest.fixture(scope="module")
def found():
    return response(batch(slices()))


def test_displaced_patterns_have_the_derivatives_of_autograd(found):
    shifts = PATTERN_SHIFTS.clone().requires_grad_()
    volume = slices().repeat_interleave(3, 0) / GEOMETRY.slice_thickness
    given = batch(slices())
    intensity = model_intensity(volume, focused_probe(), POSITIONS, *FLAT, GEOMETRY, shifts)
    (by_shift,) = torch.autograd.grad(given.loss(intensity, given.measured)[0], shifts)
    assert relative_error(found.gradient[:, DESCAN], by_shift) < 1e-10


@pytest.mark.parametrize("element", range(4))
def test_a_stretch_is_a_deformation_about_the_probe(found, element):
    """One position after the other: each has a centre of its own."""
    for number in range(len(POSITIONS)):
        matrix = torch.zeros(4).double()
        matrix[element] = 1
        centre = (POSITIONS[number] / torch.tensor(GEOMETRY.sampling, dtype=torch.float64)).tolist()

        def deformed(step, number=number, matrix=matrix, centre=centre):
            whole = batch(slices(step * matrix.reshape(2, 2), centre))
            parts = {name: getattr(whole, name)[number : number + 1] for name in ("corners", "shifts", "measured")}
            return replace(whole, **parts, pattern_shifts=whole.pattern_shifts[number : number + 1])

        expected = by_differences(deformed)
        scale = found.gradient[:, STRETCH].abs().max().item()
        assert found.gradient[number, STRETCH][element].item() == pytest.approx(expected, abs=2e-3 * scale)


@pytest.mark.parametrize("number", range(3))
def test_focus_changes_the_probe(found, number):
    def refocused(step):
        focus = torch.zeros(3).double()
        focus[number] = step
        factor = focus_change(GEOMETRY.window_shape, GEOMETRY.sampling, GEOMETRY.wavelength, focus)
        return batch(slices(), probe=torch.fft.ifft2(torch.fft.fft2(focused_probe()) * factor))

    expected = by_differences(refocused, 1e-2)
    assert found.gradient[:, FOCUS].sum(0)[number].item() == pytest.approx(expected, rel=1e-5)


def test_a_background_adds_electrons_to_every_valid_pixel(found):
    def brighter(step):
        given = batch(slices())
        return replace(given, loss=lambda model, measured: given.loss(model + step, measured))

    assert found.gradient[:, BACKGROUND].sum().item() == pytest.approx(by_differences(brighter), rel=1e-6)


def test_a_blur_spreads_electrons_over_neighbouring_pixels(found):
    def blurred(step):
        given = batch(slices())
        return replace(given, loss=replace(given.loss, blur=VARIANCE + step))

    assert found.gradient[:, BLUR].sum().item() == pytest.approx(by_differences(blurred), rel=1e-5)


def test_the_matrix_is_the_curvature_of_the_loss_where_the_model_is_true():
    """Up to the floor of the Poisson loss: the model plus its floor is what has a curvature of 4."""
    truth = batch(slices())
    intensity = []
    multislice_loss(replace(truth, loss=lambda model, measured: (intensity.append(model), (model.sum(), model))[1]))
    given = batch(slices(), measured=truth.loss.counted(torch.cat(intensity)))
    found = response(given)
    assert found.gradient.abs().max() < 1e-8 * found.curvature.abs().max()

    def loss(shifts):
        volume = slices().repeat_interleave(3, 0) / GEOMETRY.slice_thickness
        model = model_intensity(volume, focused_probe(), POSITIONS, *FLAT, GEOMETRY, shifts)
        return given.loss(model, given.measured)[0]

    hessian = torch.autograd.functional.hessian(loss, PATTERN_SHIFTS)
    for number in range(len(POSITIONS)):
        ours = found.curvature[number, DESCAN, DESCAN]
        assert relative_error(ours, hessian[number, :, number]) < 1e-10


def test_nothing_is_said_of_no_position():
    whole = batch(slices())
    none = {name: getattr(whole, name)[:0] for name in ("corners", "shifts", "measured", "pattern_shifts")}
    empty = response(replace(whole, **none))
    assert empty.gradient.shape == (0, DIRECTIONS) and empty.curvature.shape == (0, DIRECTIONS, DIRECTIONS)
