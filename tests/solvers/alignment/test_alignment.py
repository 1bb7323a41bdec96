"""Poses of simulated series are found; figures are free of the specimen's common rotation and displacement."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from blobs import PIXEL, THETAS, atoms, disturbed, measured, projections, single_axis
from solver_settings import alignment_settings

from dptt.analysis.poses import TiltPoses, pose_errors
from dptt.distributed.comm import SerialCommunicator
from dptt.distributed.partition import block_range
from dptt.distributed.torch_comm import TorchCommunicator
from dptt.solvers.alignment import align, flatten_background

ONE = SerialCommunicator()


@pytest.mark.thorough
def test_translations_and_angles_of_a_small_particle_are_found():
    """Shifts up to 4 Å and angles up to 1 degree off, as in the benchmark of [P]: there half are within 0.4 Å."""
    true = disturbed(single_axis(), 4.0, 0.0)
    nominal = TiltPoses(disturbed(true, 0.0, 1.0, seed=2).euler_angles, np.zeros_like(true.translations))
    images = measured(projections(atoms(), true))
    result = align(
        images,
        nominal,
        alignment_settings(binnings=(2, 1), angles_from=1, angle_iterations=5, translation_iterations=5),
        ONE,
    )
    found = pose_errors(result.poses, true)
    assert found.median_translation < 0.05
    assert found.max_translation < 0.15
    assert found.median_geodesic < 0.3
    assert result.weights.min() > 0.9


@pytest.mark.thorough
def test_a_turned_tilt_axis_and_shifts_of_tens_of_pixels_are_found():
    true = disturbed(single_axis(psi=92.0), 12.0, 0.0)
    needle = atoms() * np.array([1.0, 2.0, 1.0])
    images = measured(projections(needle, true, shape=(106, 110)))
    nominal = TiltPoses(single_axis(psi=90.0).euler_angles, np.zeros_like(true.translations))
    result = align(
        images,
        nominal,
        alignment_settings(binnings=(4, 2), final_binning=4, translation_iterations=4, angle_iterations=5),
        ONE,
    )
    assert np.abs(true.translations).max() > 20 * PIXEL
    assert result.tilt_axis == pytest.approx(2.0, abs=0.3)
    assert pose_errors(result.poses, true).median_translation < 0.1


def test_the_volume_holds_the_atoms_charge_in_volts():
    """Each atom integrates to 30 V Å³ and lies where it was put."""
    positions, true = atoms(5, 5.0), single_axis()
    images = measured(projections(positions, true))
    settings = alignment_settings(binnings=(2,), search=False, angles_from=0, final_iterations=30)
    result = align(images, true, settings, ONE)
    assert result.voxel_size == PIXEL
    assert result.volume.sum() * PIXEL**3 == pytest.approx(5 * 30, rel=0.05)
    x, y, z = positions[0]
    around = [
        np.abs((np.arange(n) - n // 2) * PIXEL - c) for n, c in zip(result.volume.shape, (z, y, x), strict=True)
    ]
    nearest = tuple(int(np.argmin(a)) for a in around)
    assert result.volume[nearest] > 0.4 * result.volume.max()


def test_a_tilt_of_another_specimen_is_weighted_down():
    true = single_axis()
    values = projections(atoms(), true)
    values[7] = projections(atoms(seed=9), true)[7]
    settings = alignment_settings(binnings=(2,), final_binning=2, angles_from=0, translation_iterations=3)
    result = align(measured(values), true, settings, ONE)
    assert result.weights[7] < 0.5
    assert np.delete(result.weights, 7).min() > 0.9


def test_a_background_is_flattened_tilt_by_tilt():
    values = projections(atoms(), single_axis())
    offsets = np.linspace(-3, 5, len(THETAS))
    flat, levels = flatten_background(values + offsets[:, None, None], np.ones_like(values))
    np.testing.assert_allclose(levels, offsets, atol=0.02 * values.max())
    assert flat.min() == 0


def problem() -> tuple:
    true = disturbed(single_axis(), 1.0, 0.5)
    settings = alignment_settings(
        binnings=(2,), final_binning=2, translation_iterations=2, angle_iterations=2, joint_iterations=6
    )
    return measured(projections(atoms(), true)), single_axis(), settings


def worker(index: int, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{folder}/{size}", rank=index, world_size=size, timeout=timedelta(minutes=2)
    )
    images, nominal, settings = problem()
    own = block_range(images.count, size, index)
    part = slice(own.start, own.stop)
    shared = replace(images, values=images.values[part], weights=images.weights[part], tilts=own)
    result = align(shared, nominal, settings, TorchCommunicator())
    torch.save((result.poses.euler_angles, result.poses.translations, result.volume), f"{folder}/{size}-{index}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("size", [pytest.param(2, marks=pytest.mark.thorough), 3])
def test_ranks_that_share_the_tilts_give_the_result_of_one(size, tmp_path):
    """Each holds its own images only, of 17 tilts; sums in another order differ by single precision's rounding."""
    alone = align(*problem(), ONE)
    torch.multiprocessing.start_processes(worker, (size, str(tmp_path)), nprocs=size, start_method="forkserver")
    for rank in range(size):
        angles, translations, volume = torch.load(tmp_path / f"{size}-{rank}.pt", weights_only=False)
        np.testing.assert_allclose(angles, alone.poses.euler_angles, atol=1e-3)
        np.testing.assert_allclose(translations, alone.poses.translations, atol=1e-3)
        np.testing.assert_allclose(volume, alone.volume, atol=1e-3 * alone.volume.max())
