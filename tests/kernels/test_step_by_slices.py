"""A step of the volume along a back-projection that is never held, against the one that holds it."""

import os

import pytest
import torch
from checks import random_tensor, relative_error
from multislice_problems import DEVICE

from dptt.kernels import SlabRows, cpu, dispatch, rotation, source_rows, volume_step
from dptt.physics.rotation import sampling_map

if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # before the first import

VOXEL, MOMENTUM, STEP = (0.5, 0.4, 0.3), 0.7, 0.3
NUMBERS = {"voxel_thickness": VOXEL[0], "momentum": MOMENTUM, "step": STEP}
POSES = {
    "tilted": ((4.0, -27.0, 11.0), (0.37, -0.26)),
    "about the axis": ((0.0, 30.0, 0.0), (0.0, 0.0)),
    "not turned": ((0.0, 0.0, 0.0), (0.0, 0.0)),
    "far away": ((10.0, 40.0, 0.0), (90.0, 0.0)),
}


def advance_by(name, monkeypatch):
    """Return the function that takes the step, and a device, or skip."""
    kernels = None
    if name != "plain torch":
        kernels = cpu.loaded() if name == "compiled" else pytest.importorskip("dptt.kernels.triton").loaded()
        if kernels is None:
            pytest.skip(f"{name}: not installed")
    monkeypatch.setattr(dispatch, "_for_voxels", lambda tensor, voxels: kernels)
    return dispatch.advance_by_slices_, DEVICE if name == "triton" else "cpu"


def problem(pose, target, dtype, shape=(6, 7, 10)):
    """Return map, rows, and a volume, its velocity and slices, of which only those rows are given."""
    map_ = sampling_map(*(torch.tensor(numbers).double() for numbers in POSES[pose]), VOXEL)
    rows = SlabRows(shape[1], source_rows(map_, target, shape), target)
    inside = slice(rows.source.start, rows.source.stop)
    volume, velocity = (random_tensor(*shape, seed=seed, dtype=dtype)[:, inside].contiguous() for seed in (1, 2))
    return map_, rows, volume, velocity, random_tensor(3, len(target), shape[2], seed=3, dtype=dtype)


@pytest.mark.parametrize("name", ["plain torch", "compiled", pytest.param("triton", marks=pytest.mark.thorough)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("target", [range(7), range(2, 5), range(3, 3)], ids=["whole", "slab", "no rows"])
@pytest.mark.parametrize("pose", POSES)
def test_it_is_the_step_by_the_update_that_the_slices_give(pose, target, dtype, name, monkeypatch):
    advance, device = advance_by(name, monkeypatch)
    map_, rows, volume, velocity, slices = problem(pose, target, dtype)
    wide = torch.promote_types(dtype, torch.float64)
    expected = [tensor.to(wide) for tensor in (volume, velocity)]
    shape = len(volume), rows.height, volume.shape[2]
    update = rotation.backproject_slices(slices.to(wide), map_, shape, VOXEL[0], rows)
    expected.append(volume_step.advance_(*expected, update, MOMENTUM, STEP))

    found = [tensor.to(device) for tensor in (volume, velocity)]
    found.append(advance(*found, slices.to(device), map_, **NUMBERS, rows=rows))
    assert found[2].dtype == torch.float64
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.cpu().to(theirs.dtype), theirs, rtol=1e-6, atol=3e-6)


def test_the_compiled_step_is_chosen_for_a_volume_that_is_worth_it(monkeypatch):
    module = cpu.loaded().volume_step
    map_, rows, volume, velocity, slices = problem("tilted", range(7), torch.complex64)
    taken = []
    monkeypatch.setattr(dispatch, "_WORTH_VOXELS", volume.numel())
    monkeypatch.setattr(module, "move_", lambda *given: taken.append(given) or torch.zeros(2))
    dispatch.advance_by_slices_(volume, velocity, slices, map_, **NUMBERS)
    assert len(taken) == 1
    monkeypatch.setattr(dispatch, "_WORTH_VOXELS", volume.numel() + 1)
    before = volume.clone()
    dispatch.advance_by_slices_(volume, velocity, slices, map_, **NUMBERS)
    assert len(taken) == 1
    assert relative_error(volume, before) > 1e-3


def test_the_compiled_step_is_the_same_bits_on_any_number_of_threads(monkeypatch):
    advance, _ = advance_by("compiled", monkeypatch)
    before, found = torch.get_num_threads(), []
    for number in (1, 3):
        torch.set_num_threads(number)
        map_, rows, volume, velocity, slices = problem("tilted", range(7), torch.complex64)
        sums = advance(volume, velocity, slices, map_, **NUMBERS, rows=rows)
        found.append((volume, velocity, sums))
    torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
