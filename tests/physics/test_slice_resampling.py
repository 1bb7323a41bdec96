"""Slices on finer pixels than the voxels of the volume."""

import math

import pytest
import torch
from checks import assert_adjoint, random_tensor

from dptt.physics.resampling import coarsen_slices, interpolation_matrix, refine_slices

SHAPES = [((10, 12), (15, 18)), ((9, 7), (18, 14)), ((9, 15), (15, 25)), ((8, 6), (12, 15))]


def wave(shape: tuple[int, int], cycles: tuple[int, int], where: tuple[float, float]) -> torch.Tensor:
    """Return a wave of whole cycles over the image that has its crest at the point `where` from index n//2."""
    y, x = ((torch.arange(n, dtype=torch.float64) - n // 2) / n for n in shape)
    phase = cycles[0] * (y[:, None] - where[0]) + cycles[1] * (x - where[1])
    return torch.cos(2 * math.pi * phase)[None]


@pytest.mark.parametrize("voxels,pixels", SHAPES)
def test_what_voxels_can_hold_is_the_same_function_on_finer_pixels(voxels, pixels):
    for cycles in ((0, 0), (1, 2), (-2, 1), ((voxels[0] - 1) // 2, (voxels[1] - 1) // 2)):
        fine = refine_slices(wave(voxels, cycles, (0.13, -0.07)), pixels)
        torch.testing.assert_close(fine, wave(pixels, cycles, (0.13, -0.07)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [torch.float64, torch.complex128])
@pytest.mark.parametrize("voxels,pixels", SHAPES)
def test_coarsening_is_the_adjoint_of_refining(voxels, pixels, kind):
    slices = random_tensor(3, *voxels, dtype=kind)
    assert_adjoint(lambda s: refine_slices(s, pixels), lambda g: coarsen_slices(g, voxels), slices)


def test_the_nyquist_frequency_is_left_out():
    alternating = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(5)
    assert (interpolation_matrix(10, 15) @ alternating).abs().max() < 1e-13


def test_sums_over_voxels_are_those_over_pixels():
    gradient = random_tensor(2, 15, 18)
    torch.testing.assert_close(coarsen_slices(gradient, (10, 12)).sum((1, 2)), gradient.sum((1, 2)))
