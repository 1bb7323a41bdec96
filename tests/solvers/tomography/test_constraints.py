import math

import numpy as np
import pytest
import torch
from checks import random_tensor, relative_error

from dptt.kernels import power_sums
from dptt.kernels.volume_step import reduce_negative_, shrink_
from dptt.solvers.tomography.constraints import butterworth_, regularise_layers_, typical_potential

SHAPE, VOXEL = (15, 8, 12), (0.4, 0.7, 0.5)  # the field of view is 6 Å along z and x, 5.6 Å along y


def plane_wave(periods, dtype=torch.float64):
    """Return cos(2 pi k·r), or exp(2 pi i k·r), with whole `periods` (z, y, x) in the volume."""
    z, y, x = torch.meshgrid(*(torch.arange(n).double() / n for n in SHAPE), indexing="ij")
    phase = 2 * math.pi * (periods[0] * z + periods[1] * y + periods[2] * x)
    return torch.polar(torch.ones_like(phase), phase) if dtype.is_complex else torch.cos(phase)


def frequency(periods):
    return np.array([p / (n * d) for p, n, d in zip(periods, SHAPE, VOXEL, strict=True)])


def test_shrinking_minimises_the_l1_penalised_distance():
    """prox(v) = argmin over u of (u - v)²/2 + t |u|."""
    values, threshold = torch.linspace(-2, 2, 41).double(), 0.65
    candidates = torch.linspace(-3, 3, 6001).double()
    cost = (candidates - values[:, None]) ** 2 / 2 + threshold * candidates.abs()
    shrunk = shrink_(values.clone(), threshold)
    torch.testing.assert_close(shrunk, candidates[cost.argmin(1)], rtol=0, atol=1e-3)


def test_only_the_stated_fraction_of_negative_values_is_removed():
    values = torch.tensor([-2.0, -0.5, 0.0, 1.5]).double()
    for strength, expected in ((0.0, [-2, -0.5, 0, 1.5]), (0.3, [-1.4, -0.35, 0, 1.5]), (1.0, [0, 0, 0, 1.5])):
        torch.testing.assert_close(reduce_negative_(values.clone(), strength), torch.tensor(expected).double())


@pytest.mark.parametrize("function", [lambda v: shrink_(v, 0.5), lambda v: reduce_negative_(v, 1.0)])
def test_constraints_work_in_place_on_one_part_of_a_complex_volume(function):
    volume = random_tensor(*SHAPE, seed=1, dtype=torch.complex128)
    before = volume.clone()
    function(volume.imag)
    assert torch.equal(volume.real, before.real)
    torch.testing.assert_close(volume.imag, function(before.imag.clone()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("periods", [(0, 0, 0), (3, 0, 0), (0, 2, 0), (0, 0, 5), (2, -1, 3)])
def test_butterworth_passes_each_plane_wave_by_its_response(periods, dtype):
    cutoff, order = 0.45, 3
    k = np.linalg.norm(frequency(periods))
    expected = plane_wave(periods, dtype) / (1 + (k / cutoff) ** (2 * order))
    volume = plane_wave(periods, dtype)
    butterworth_(volume, VOXEL, cutoff, order)
    torch.testing.assert_close(volume, expected, rtol=0, atol=1e-13)


def unit(vector):
    return torch.from_numpy(vector / np.linalg.norm(vector))


BEAMS = {"along z": (1, 0, 0), "tilted": (2, 0, 1)}
ACROSS = {"along z": [(0, 3, 0), (0, 0, 4), (0, -2, 3)], "tilted": [(1, 0, -2), (2, 0, -4), (0, 3, 0)]}
ALONG = {"along z": [(1, 0, 0), (5, 0, 0)], "tilted": [(2, 0, 1), (4, 0, 2)]}


@pytest.mark.parametrize("beam", BEAMS)
def test_layer_filter_passes_waves_across_the_beam(beam):
    for periods in ACROSS[beam]:
        volume = plane_wave(periods)
        regularise_layers_(volume, VOXEL, unit(frequency(BEAMS[beam])), weight=3.0)
        torch.testing.assert_close(volume, plane_wave(periods), rtol=0, atol=1e-13)


@pytest.mark.parametrize("beam", BEAMS)
def test_layer_filter_stops_waves_along_the_beam(beam):
    for periods in ALONG[beam]:
        volume = plane_wave(periods)
        regularise_layers_(volume, VOXEL, unit(frequency(BEAMS[beam])), weight=10.0)
        assert relative_error(volume + plane_wave(periods), plane_wave(periods)) < 1.01
        assert volume.abs().max() < 0.01


def test_layer_filter_of_an_oblique_wave_is_the_formula_at_half_strength():
    periods, beam, weight = (3, 2, -1), unit(np.array([0.8, 0.1, 0.6])), 0.7
    k = frequency(periods)
    along = k @ beam.numpy()
    lowest = 1 / 6.0
    ratio = (weight * along) ** 2 / (k @ k - along**2 + lowest**2)
    volume = plane_wave(periods, torch.complex128)
    regularise_layers_(volume, VOXEL, beam, weight, strength=0.5)
    expected = (1 - 0.5 * 2 / math.pi * math.atan(ratio)) * plane_wave(periods, torch.complex128)
    torch.testing.assert_close(volume, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("weight,strength", [(0.0, 1.0), (2.0, 0.0)])
def test_layer_filter_without_weight_or_strength_changes_nothing(weight, strength):
    volume = random_tensor(*SHAPE, seed=2)
    before = volume.clone()
    assert torch.equal(regularise_layers_(volume, VOXEL, unit(np.array([1.0, 0, 0])), weight, strength), before)


def test_typical_potential_is_that_of_the_specimen_however_much_vacuum_surrounds_it():
    def typical(volume):
        return typical_potential(power_sums(volume))

    specimen = random_tensor(4, 5, 6, seed=3)
    padded = torch.nn.functional.pad(specimen, (3, 9, 0, 7, 5, 1))
    assert typical(padded) == pytest.approx(typical(specimen), rel=1e-14)
    assert typical(torch.full((3, 4, 5), -7.0)) == pytest.approx(7.0)
    assert typical(torch.complex(specimen, 100 * specimen)) == typical(specimen)
    assert typical(torch.zeros(3, 4, 5)) == 0
