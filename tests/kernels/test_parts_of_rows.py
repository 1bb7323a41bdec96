"""Rows of a volume are turned a few at a time: what is not given counts as zero, nothing is written beside it."""

import os

import pytest
import torch
from checks import random_tensor
from multislice_problems import DEVICE

from dptt.kernels import SlabRows, cpu, rotation
from dptt.physics.rotation import sampling_map

if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # before the first import

SHAPE, VOXEL, SLICES = (6, 11, 10), (0.5, 0.4, 0.3), 3
POSES = {"tilted": ((4.0, -27.0, 11.0), (0.37, -0.26)), "half outside": ((10.0, 40.0, 0.0), (1.9, 0.3))}
PARTS = (range(0, 4), range(4, 5), range(5, 5), range(5, 11))
TARGET = range(2, 9)


def by_name(name):
    """Return functions of (volume, map, rows) and (slices, map, rows), or skip."""
    if name == "plain torch":
        return (
            lambda volume, map_, rows: rotation.project_slices(volume, map_, SLICES, VOXEL[0], rows),
            lambda slices, map_, rows: rotation.backproject_slices(slices, map_, SHAPE, VOXEL[0], rows),
        )
    kernels = cpu.loaded() if name == "compiled" else pytest.importorskip("dptt.kernels.triton").loaded()
    if kernels is None:
        pytest.skip(f"{name}: not installed")
    by, device = kernels.rotation, "cpu" if name == "compiled" else DEVICE
    return (
        lambda volume, map_, rows: rotation.project_slices(volume.to(device), map_, SLICES, VOXEL[0], rows, by).cpu(),
        lambda slices, map_, rows: rotation.backproject_slices(
            slices.to(device), map_, SHAPE, VOXEL[0], rows, by=by
        ).cpu(),
    )


@pytest.mark.parametrize("name", ["plain torch", "compiled", pytest.param("triton", marks=pytest.mark.thorough)])
@pytest.mark.parametrize("pose", POSES)
def test_parts_add_up_to_the_whole_and_their_adjoints_are_parts_of_it(pose, name):
    project, backproject = by_name(name)
    map_ = sampling_map(*(torch.tensor(numbers).double() for numbers in POSES[pose]), VOXEL)
    volume = random_tensor(*SHAPE, seed=1, dtype=torch.complex64)
    slices = random_tensor(SLICES, len(TARGET), SHAPE[2], seed=2, dtype=torch.complex64)
    whole = SlabRows(SHAPE[1], range(SHAPE[1]), TARGET)
    projected, returned = project(volume, map_, whole), backproject(slices, map_, whole)
    sum_ = torch.zeros_like(projected)
    for part in PARTS:
        rows, inside = SlabRows(SHAPE[1], part, TARGET), slice(part.start, part.stop)
        sum_ += project(volume[:, inside].contiguous(), map_, rows)
        torch.testing.assert_close(backproject(slices, map_, rows), returned[:, inside], rtol=0, atol=3e-6)
    assert projected.abs().max() > 0.1
    torch.testing.assert_close(sum_, projected, rtol=0, atol=3e-6)
