"""Fits, preferences and the total potential are those of one process: scan ranks, slabs, tilt groups."""

from dataclasses import astuple

import pytest
import torch
import torch.distributed as dist
from small_series import GEOMETRY, isolated_truth, make_truth
from solver_settings import tomography_settings

from dptt.distributed.mesh import Mesh
from dptt.distributed.torch_comm import TorchCommunicator
from dptt.solvers.tomography import final_fits
from dptt.solvers.tomography.detuning import optics_preferences
from dptt.solvers.tomography.projections import projections
from dptt.solvers.tomography.run import Run
from dptt.solvers.tomography.tilt_groups import TiltGroups
from dptt.solvers.tomography.vacuum import set_constant_

PAIR = {"scan ranks": (1, 1), "slabs": (1, 2), "tilt groups": (2, 1)}
SETTINGS = tomography_settings(validation_fraction=0.5)


def measured(mesh: Mesh) -> torch.Tensor:
    """Return all fits and preferences, one row each."""
    truth = make_truth()
    state, rows = truth.start(), mesh.rows(GEOMETRY.volume_shape[1])
    state.volume = 0.8 * truth.volume[:, rows.start : rows.stop]
    arguments = (state, truth.series(), GEOMETRY, SETTINGS, mesh)
    preferences = [one for tilts in optics_preferences(*arguments).values() for one in tilts]
    fits = [*map(astuple, final_fits(*arguments).tilts), *((*astuple(p), 0, 0) for p in preferences)]
    return torch.cat([torch.tensor(fits), vacuum_of(mesh), projected(state, truth, mesh)])


def projected(state, truth, mesh: Mesh) -> torch.Tensor:
    """Return measures of the projections of every tilt, a row each."""
    groups = TiltGroups(mesh.tilt, SETTINGS.tilt_groups, state, 5)
    images = projections(state, truth.series(), Run(GEOMETRY, SETTINGS, mesh, groups))
    y = torch.arange(images.weight.shape[1], dtype=torch.float64)[:, None]
    parts = [images.gradient, images.gradient * y, images.weight / 1e3, images.weight * y / 1e4]
    volume = (images.volume * images.specimen).sum().expand(5)
    return torch.stack([*(part.sum((1, 2)) for part in parts), volume], 1).float()


def vacuum_of(mesh: Mesh) -> torch.Tensor:
    """Return what the vacuum tells of an isolated particle, as two rows."""
    truth, rows = isolated_truth(), mesh.rows(GEOMETRY.volume_shape[1])
    state = truth.start()
    state.volume = 0.9 * truth.volume[:, rows.start : rows.stop] + 3.0
    vacuum = set_constant_(state, truth.series(), GEOMETRY, SETTINGS, mesh)
    volume = mesh.slab.sum_(torch.stack([state.volume.sum(), state.volume.square().sum()])).tolist()
    return torch.tensor([*map(float, astuple(vacuum)), *volume, 0.0]).reshape(2, 5)


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save({name: measured(Mesh.of(TorchCommunicator(), *cut)) for name, cut in PAIR.items()}, f"{folder}/{rank}")
    dist.destroy_process_group()


@pytest.mark.thorough
@pytest.mark.slow
def test_fits_and_preferences_are_those_of_one_process(tmp_path):
    torch.multiprocessing.start_processes(worker, (str(tmp_path),), nprocs=2, start_method="forkserver")
    alone = measured(Mesh.serial())
    assert (alone[:5, 0] > 0).all() and (alone[5:-7, 1] > 0).all() and alone[-7, 0] == 1, "the vacuum told"
    assert (alone[-5:, 2:] > 0).all(), "every tilt is lit"
    for rank in range(2):
        for name, found in torch.load(tmp_path / str(rank)).items():
            torch.testing.assert_close(
                found, alone, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
            )
