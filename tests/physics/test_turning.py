"""A turned volume keeps its amplitudes at every angle, up to nearly the highest frequency of its voxels."""

import math

import pytest
import torch
from checks import random_tensor

from dptt.physics.rotation import rotate_volume, sampling_map

VOXEL = 0.4
"""[Å]: frequencies up to 1.25 1/Å."""


def pose_map(angles, translation=(0.0, 0.0), voxel=(VOXEL,) * 3):
    return sampling_map(torch.tensor(angles).double(), torch.tensor(translation).double(), voxel)


def axis(n):
    return (torch.arange(n).double() - n // 2) * VOXEL


def fringes(frequency, x, z):
    return torch.exp(-((x / 4) ** 2 + (z / 2) ** 2) / 2) * torch.cos(2 * math.pi * frequency * x)


@pytest.mark.parametrize("translation", [0.0, 0.2])
@pytest.mark.parametrize("theta", [0.0, 5.0, 10.0, 30.0, 44.0, 53.0])
@pytest.mark.parametrize(("frequency", "kept"), [(0.3, 0.995), (0.9, 0.995), (1.1, 0.97)])
def test_fringes_across_the_beam_keep_their_amplitude(frequency, kept, theta, translation):
    """Trilinear interpolation keeps 0.67 of 1.1 1/Å at 10° and all of it at 0°: the tilts contradict each other."""
    z, x = axis(64)[:, None], axis(86)
    c, s = math.cos(math.radians(theta)), math.sin(math.radians(theta))
    volume = fringes(frequency, x * c + z * s, z * c - x * s)[:, None].contiguous()
    projected = rotate_volume(volume, pose_map((0.0, theta, 0.0), (0.0, translation)))[:, 0].sum(0)
    expected = fringes(frequency, x - translation, z).sum(0)
    amplitude = (projected @ expected / (expected @ expected)).item()
    if frequency == 1.1 and theta == 0 and translation == 0.2:
        kept = 0.955  # half a voxel between all samples; and a tenth of these fringes is above 1.16 1/Å
    assert kept < amplitude < 1.005
    assert (projected - expected).norm() < (0.05 if kept > 0.96 else 0.08) * expected.norm()


@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (0.0, 17.0, 0.0), (3.0, 40.0, -2.0), (2.0, 62.0, 5.0)])
def test_the_total_potential_is_kept(angles):
    volume = torch.zeros(24, 25, 26).double()
    volume[8:16, 9:17, 9:17] = random_tensor(8, 8, 8, seed=1).square()
    turned = rotate_volume(volume, pose_map(angles, (0.13, -0.3)))
    assert turned.sum().item() == pytest.approx(volume.sum().item(), rel=1e-3)


@pytest.mark.parametrize("theta", [0.0, 20.0, 55.0])
def test_a_uniform_specimen_has_the_projection_of_its_thickness(theta):
    inside = rotate_volume(torch.ones(24, 3, 90).double(), pose_map((0.0, theta, 0.0))).sum(0)[1, 43:48]
    expected = 24 if theta < 40 else inside.mean().item()
    assert (inside - expected).abs().max() < 2e-2 * expected


@pytest.mark.parametrize("theta", [15.0, 60.0])
def test_slices_of_one_voxel_are_where_the_specimen_is_in_depth(theta):
    """A small blob: no potential in slices more than two voxels from it."""
    volume = torch.zeros(40, 3, 44).double()
    z, x = torch.arange(40).double()[:, None] - 24, torch.arange(44).double() - 25
    volume[:] = torch.exp(-(z**2 + x**2) / 2)[:, None]
    turned = rotate_volume(volume, pose_map((0.0, theta, 0.0))).sum((1, 2))
    z, x = 4 * VOXEL, 3 * VOXEL
    depth = (z * math.cos(math.radians(theta)) - x * math.sin(math.radians(theta))) / VOXEL + 20
    planes = torch.arange(40).double()
    assert (turned * planes).sum() / turned.sum() == pytest.approx(depth, abs=0.02)
    assert turned[(planes - depth).abs() > 5].abs().max() < 5e-3 * turned.max()
