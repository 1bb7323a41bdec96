"""Ranks that each hold some rows write one file: through MPI where h5py can, else by way of rank 0; the same file."""

import resource
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from dptt.config import Config
from dptt.distributed.mesh import Mesh
from dptt.distributed.mpi_comm import MpiCommunicator
from dptt.io import slab_files
from dptt.io.checkpoint import load_checkpoint, previous_path
from dptt.io.errors import CheckpointError, WriteError
from dptt.io.volumes import create_volume, read_volume, volume_rows
from dptt.model.calibration import NUM_PARAMETERS
from dptt.model.state import Nominal, TomographyState
from dptt.runtime import row_output as slab_output
from dptt.runtime.checkpoints import Checkpoint, restore_state, save_state
from dptt.runtime.row_output import mpi_for_files, write_together

pytestmark = pytest.mark.mpi(min_size=4)
DEPTH, WIDTH = 3, 7
NAMES = ["0000", "0001"]


@pytest.fixture(params=["through MPI", "by way of rank 0"])
def way(request, monkeypatch) -> str:
    """Either way to write; pieces are of one or two rows."""
    if request.param == "through MPI":
        if not h5py.get_config().mpi:
            pytest.skip("h5py is built without MPI: bash scripts/setup_mpi.sh")
    else:
        monkeypatch.setattr(slab_output, "h5py_has_mpi", lambda: False)
    monkeypatch.setattr(slab_files, "PIECE_BYTES", 2 * DEPTH * WIDTH * 8)
    return request.param


def mesh_of(world, tilt_groups: int, slabs: int) -> Mesh:
    return Mesh.of(MpiCommunicator(world), tilt_groups, slabs)


def whole_state(height: int) -> TomographyState:
    """A state after 5 epochs, with values everywhere, the same on all ranks."""
    random = torch.Generator().manual_seed(height)

    def values(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64)

    volume = torch.complex(values(DEPTH, height, WIDTH), values(DEPTH, height, WIDTH))
    return TomographyState(
        volume=volume,
        velocity=volume.flip(0).conj().resolve_conj().contiguous(),
        probes=[torch.complex(values(2, 4, 5), values(2, 4, 5)) for _ in NAMES],
        positions=[values(9, 2), values(8, 2)],
        euler_angles=values(2, 3),
        translations=values(2, 2),
        tilt_weights=values(2),
        nominal=Nominal(values(2, 3), values(2, 2), values(2, 14)),
        calibration=values(2, NUM_PARAMETERS),
        calibration_errors=values(2, NUM_PARAMETERS),
        epoch=5,
    )


def own_part(state: TomographyState, mesh: Mesh, height: int) -> TomographyState:
    rows = mesh.rows(height)
    state.volume = state.volume[:, rows.start : rows.stop].clone()
    state.velocity = state.velocity[:, rows.start : rows.stop].clone()
    return state


def checkpoint_of(path: Path, height: int, mesh: Mesh) -> Checkpoint:
    return Checkpoint(path, Config(series="s.h5", run="r"), "{}", NAMES, height, mesh)


def save(path: Path, state: TomographyState, height: int, mesh: Mesh) -> None:
    save_state(checkpoint_of(path, height, mesh), state)


def restore(path: Path, state: TomographyState, height: int, mesh: Mesh) -> None:
    restore_state(checkpoint_of(path, height, mesh), state, 9)


@pytest.mark.parametrize(
    ("tilt_groups", "slabs", "height"),
    [(1, 4, 13), (1, 4, 3), (2, 2, 13), (1, 1, 13)],
    ids=["uneven rows", "a rank without rows", "two tilt groups", "no slabs"],
)
def test_a_checkpoint_is_the_one_of_one_process_and_every_mesh_reads_its_rows(
    world, shared_folder, way, tilt_groups, slabs, height
):
    path = shared_folder / "checkpoint.h5"
    expected, mesh = whole_state(height), mesh_of(world, tilt_groups, slabs)
    assert (mpi_for_files(mesh.slab) is not None) == (way == "through MPI" and slabs > 1)
    save(path, own_part(whole_state(height), mesh, height), height, mesh)
    arrays, attributes = load_checkpoint(path)
    assert attributes["epoch"] == 5
    np.testing.assert_array_equal(arrays["volume"], expected.volume.numpy())
    np.testing.assert_array_equal(arrays["velocity"], expected.velocity.numpy())
    np.testing.assert_array_equal(arrays["positions/0001"], expected.positions[1].numpy())
    world.barrier()
    if world.rank == 0:
        alone = whole_state(height)
        alone.velocity.zero_()
        save(shared_folder / "alone.h5", alone, height, Mesh.serial())
        # through MPI, HDF5 leaves gaps between its own structures
        assert abs((shared_folder / "alone.h5").stat().st_size - path.stat().st_size) < 4096
    for other in (4, 2, 1):
        mesh = mesh_of(world, 1, other)
        state = own_part(whole_state(height), mesh, height)
        mine = state.volume.clone()
        for tensor in (state.volume, state.velocity, *state.probes, *state.positions):
            tensor.zero_()
        restore(path, state, height, mesh)
        assert torch.equal(state.volume, mine) and state.epoch == 5
        assert torch.equal(state.probes[1], expected.probes[1])


def test_the_result_is_the_whole_volume(world, shared_folder, way):
    path, mesh = shared_folder / "volume.h5", mesh_of(world, 1, 4)
    volume = whole_state(13).volume.to(torch.complex64)
    own = volume[:, mesh.rows(13).start : mesh.rows(13).stop].numpy()

    def create(file: Path) -> None:
        create_volume(file, (tuple(volume.shape), own.dtype), (1.0, 0.5, 0.5), target=path, attributes={"epochs": 5})

    write_together(path, mesh, 13, create, volume_rows(own, mesh.rows(13).start))
    np.testing.assert_array_equal(read_volume(path).volume, volume.numpy())
    assert not list(shared_folder.glob(".*partial*"))


def test_a_row_damaged_for_one_rank_sends_all_to_the_checkpoint_before(world, shared_folder, way):
    path, mesh = shared_folder / "checkpoint.h5", mesh_of(world, 1, 4)
    for epoch in (5, 6):
        state = own_part(whole_state(13), mesh, 13)
        state.epoch = epoch
        save(path, state, 13, mesh)
    if world.rank == 0:
        with h5py.File(path, "r+") as file:
            file["arrays/velocity"][0, 12, 0] += 1  # of the last rank alone
    world.barrier()
    state = own_part(whole_state(13), mesh, 13)
    restore(path, state, 13, mesh)
    assert state.epoch == 5, "the one before"
    world.barrier()
    if world.rank == 0:
        previous_path(path).unlink()
        path.with_name("checkpoint.h5.damaged").rename(path)
    world.barrier()
    with pytest.raises(CheckpointError, match="1 row.* of velocity, the first y = 12, do not match"):
        restore(path, state, 13, mesh)


@pytest.fixture
def small_files():
    """Let this rank write no file beyond so many bytes, as a full disk would not."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("when", ["the room is taken", "the rows are written"])
def test_if_ranks_cannot_write_all_stop_with_the_same_error(
    world, shared_folder, way, small_files, monkeypatch, when
):
    """Of the room, only rank 0 hears; rows fail on the ranks that write them."""
    path, mesh = shared_folder / "checkpoint.h5", mesh_of(world, 1, 4)
    save(path, own_part(whole_state(13), mesh, 13), 13, mesh)
    before = path.read_bytes()
    if when == "the room is taken":
        small_files(2000 if world.rank == 0 else resource.RLIM_INFINITY)
    else:
        write = slab_output._write_rows

        def write_rows(*arguments) -> None:
            small_files(int(0.9 * len(before)))
            write(*arguments)

        monkeypatch.setattr(slab_output, "_write_rows", write_rows)
    with pytest.raises(WriteError) as failure:
        save(path, own_part(whole_state(13), mesh, 13), 13, mesh)
    said = world.allgather(str(failure.value))
    assert said == [said[0]] * 4
    assert f"{path}: cannot be written (" in said[0] and "run the same command to resume" in said[0]
    assert path.read_bytes() == before
    assert load_checkpoint(path)[1]["epoch"] == 5
    assert not list(shared_folder.glob(".*partial*"))
