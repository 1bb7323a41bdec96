"""Turning and moving the volume in Triton against plain torch; without a GPU, Triton's interpreter runs it."""

import os

import pytest
import torch
from checks import assert_adjoint, random_tensor, relative_error
from multislice_problems import DEVICE

from dptt.kernels import SlabRows, Thresholds, pose, rotation, source_rows, volume_step
from dptt.physics import turned_planes
from dptt.physics.rotation import sampling_map

if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # before the first import
kernels = pytest.importorskip("dptt.kernels.triton").loaded()
pytestmark = pytest.mark.skipif(kernels is None, reason="needs Triton")

VOXEL = (0.5, 0.4, 0.3)
POSES = {
    "tilted": ((4.0, -27.0, 11.0), (0.37, -0.26)),
    "about the axis": ((0.0, 30.0, 0.0), (0.0, 0.0)),
    "not turned": ((0.0, 0.0, 0.0), (0.0, 0.0)),
    "on edge": ((-3.0, 88.0, -95.0), (-0.1, 0.9)),
    "half outside": ((10.0, 40.0, 0.0), (0.3, 1.7)),
    "far away": ((10.0, 40.0, 0.0), (90.0, 0.0)),
}

THOROUGH = pytest.mark.thorough


def some(*cheap):
    """Return all poses, of which a run by default takes the `cheap` ones: the interpreter is slow."""
    return [pose if pose in cheap else pytest.param(pose, marks=THOROUGH) for pose in POSES]


def pose_map(pose, voxel=VOXEL):
    return sampling_map(*(torch.tensor(numbers).double() for numbers in POSES[pose]), voxel)


def turned(volume, map_, num_slices, rows, thickness=VOXEL[0]):
    return rotation.project_slices(volume.to(DEVICE), map_, num_slices, thickness, rows, kernels.rotation).cpu()


def turned_back(slices, map_, shape, rows, thickness=VOXEL[0]):
    return rotation.backproject_slices(slices.to(DEVICE), map_, shape, thickness, rows, by=kernels.rotation).cpu()


@pytest.mark.parametrize(("shape", "dtype"), [((6, 7, 10), torch.complex64), ((3, 8, 5), torch.float32)], ids=str)
@pytest.mark.parametrize("pose", some("about the axis"))
def test_projection_and_backprojection_are_those_of_plain_torch(pose, shape, dtype):
    map_, rows = pose_map(pose), rotation.all_rows(shape[1])
    wide = torch.promote_types(dtype, torch.float64)
    volume = random_tensor(*shape, seed=1, dtype=dtype)
    slices = random_tensor(3, *shape[1:], seed=2, dtype=dtype)
    for mine, theirs in (
        (turned(volume, map_, 3, rows), rotation.project_slices(volume.to(wide), map_, 3, VOXEL[0])),
        (turned_back(slices, map_, shape, rows), rotation.backproject_slices(slices.to(wide), map_, shape, VOXEL[0])),
    ):
        torch.testing.assert_close(mine.to(wide), theirs, rtol=0, atol=3e-6)


@pytest.mark.parametrize("voxel", [VOXEL, (2.0, 0.4, 0.4)], ids=["nearly cubic", "five times as thick as wide"])
@THOROUGH
@pytest.mark.parametrize("pose", [pose for pose in POSES if pose != "far away"])
def test_backprojection_is_the_adjoint_of_projection(pose, voxel):
    shape = (6, 9, 14)
    map_, rows = pose_map(pose, voxel), rotation.all_rows(shape[1])
    assert_adjoint(
        lambda volume: turned(volume, map_, 2, rows, voxel[0]),
        lambda slices: turned_back(slices, map_, shape, rows, voxel[0]),
        random_tensor(*shape, seed=3, dtype=torch.complex64),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    "pose", ["about the axis", *(pytest.param(p, marks=THOROUGH) for p in ("tilted", "half outside"))]
)
def test_slabs_are_rows_of_the_whole(pose):
    shape, map_ = (6, 11, 10), pose_map(pose)
    volume = random_tensor(*shape, seed=4, dtype=torch.float32)
    slices = random_tensor(3, *shape[1:], seed=5, dtype=torch.float32)
    whole = turned(volume, map_, 3, rotation.all_rows(11))
    sum_ = torch.zeros(shape)
    for target in (range(0, 4), range(4, 5), range(5, 5), range(5, 11)):
        rows = SlabRows(11, source_rows(map_, target, shape), target)
        inside, mine = slice(rows.source.start, rows.source.stop), slice(target.start, target.stop)
        piece = turned(volume[:, inside], map_, 3, rows)
        torch.testing.assert_close(piece, whole[:, mine], rtol=0, atol=3e-6)
        sum_[:, inside] += turned_back(slices[:, mine], map_, shape, rows)
    torch.testing.assert_close(sum_, turned_back(slices, map_, shape, rotation.all_rows(11)), rtol=0, atol=3e-6)


@pytest.mark.parametrize("edge", [None, "upper", "lower"])
def test_slices_at_the_edges_of_layers_are_those_of_plain_torch(edge):
    """Of layers whose edges lie between two slices, too: half of either."""
    map_ = pose_map("not turned")
    images = random_tensor(2, 3, 6, seed=8, dtype=torch.complex64)
    plan = rotation.plan_of(map_, (4, 3, 6), rotation.all_rows(3), images.to(DEVICE))
    found = kernels.rotation.layers(images.to(DEVICE), plan, slice(0, 4), 2, edge).cpu()
    plan = rotation.plan_of(map_, (4, 3, 6), rotation.all_rows(3), images.to(torch.complex128))
    expected = turned_planes.layers(images.to(torch.complex128), plan, slice(0, 4), 2, edge)
    assert relative_error(found, expected) < 1e-6


@THOROUGH
@pytest.mark.parametrize("dtype", [torch.complex64, torch.float32])
@pytest.mark.parametrize("target", [range(2, 5), range(9)], ids=["slab", "whole"])
@pytest.mark.parametrize("name", ["tilted", "half outside"])
def test_derivatives_by_the_pose_are_those_of_plain_torch(name, target, dtype):
    shape, map_ = (6, 9, 10), pose_map(name)
    rows = SlabRows(9, source_rows(map_, target, shape), target)
    wide = torch.promote_types(dtype, torch.float64)
    volume = random_tensor(*shape, seed=6, dtype=dtype)[:, rows.source.start : rows.source.stop].contiguous()
    residual = random_tensor(3, len(target), shape[2], seed=7, dtype=dtype)
    given = volume.to(DEVICE), map_, residual.to(DEVICE), VOXEL[0], rows
    found = pose.pose_derivatives(*given, kernels.rotation)
    expected = pose.pose_derivatives(volume.to(wide), map_, residual.to(wide), VOXEL[0], rows)
    assert all(relative_error(mine.cpu(), theirs) < 1e-5 for mine, theirs in zip(found, expected, strict=True))


THRESHOLDS = Thresholds(negative=0.7, shrinkage=0.2, negative_absorption=1.0, absorption_shrinkage=0.1)


@pytest.mark.parametrize("thresholds", [THRESHOLDS, Thresholds(), Thresholds(shrinkage=0.5)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_a_step_of_the_volume_is_that_of_plain_torch(dtype, thresholds):
    def moved(module, wide, device):
        tensors = [random_tensor(17, 13, 25, seed=s, dtype=dtype).to(device, wide) for s in (1, 2, 3)]
        volume, velocity, update = tensors
        sums = module.advance_(volume, velocity, update, 0.8, 0.3)
        module.threshold_(volume, thresholds)
        return volume, velocity, sums

    mine = moved(kernels.volume_step, dtype, DEVICE)
    theirs = moved(volume_step, torch.promote_types(dtype, torch.float64), "cpu")
    assert mine[2].dtype == torch.float64
    assert all(relative_error(a.cpu(), b) < 1e-6 for a, b in zip(mine, theirs, strict=True))


def test_a_bad_number_in_the_volume_stays_one():
    volume = random_tensor(4, 3, 5, seed=1).float().to(DEVICE)
    volume[2, 1, 3] = torch.nan
    kernels.volume_step.threshold_(volume, THRESHOLDS)
    assert volume.isnan().sum() == 1
    assert kernels.volume_step.advance_(volume, volume.clone(), volume, 0.5, 0.1).isnan().all()
