"""Slices summed over ranks while others are computed, as on GPUs: the same numbers and bytes as in one message."""

import torch
import torch.distributed as dist
import torch.multiprocessing
from checks import random_tensor
from small_series import GEOMETRY, make_truth
from solver_settings import refinement, tomography_settings

from dptt.distributed.comm import SerialCommunicator
from dptt.distributed.mesh import Mesh
from dptt.distributed.torch_comm import TorchCommunicator
from dptt.physics.potential import transmission, transmission_gradient
from dptt.solvers.tomography import EpochRecord, minibatch_update, reconstruct
from dptt.solvers.tomography.slice_gradient import SliceGradient

SETTINGS = tomography_settings(epochs=2, batches=3, probe=refinement(start=1))


def run(mesh: Mesh) -> dict:
    truth = make_truth()
    state, records = truth.start(volume_dtype=torch.float64), []
    reconstruct(state, truth.series(), GEOMETRY, SETTINGS, mesh, records.append)
    last: EpochRecord = records[-1]
    return {"volume": state.volume, "probe": state.probes[1], "loss": last.loss, "bytes": last.bytes_sent}


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    mesh = Mesh.of(TorchCommunicator(), 1, 1)
    found = {"one message": run(mesh)}
    begun = []
    as_one = TorchCommunicator.begin_sum
    TorchCommunicator.begin_sum = lambda self, tensor: begun.append(tensor.shape) or as_one(self, tensor)
    minibatch_update.sums_early = lambda run, device: True
    found["early"] = run(mesh)
    found["shapes"] = begun
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_sums_that_begin_early_change_neither_numbers_nor_bytes(tmp_path):
    torch.multiprocessing.start_processes(worker, (str(tmp_path),), nprocs=2, start_method="forkserver")
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        for what, expected in found["one message"].items():
            torch.testing.assert_close(found["early"][what], expected, rtol=1e-12, atol=0)
        of_a_slice = [shape for shape in found["shapes"] if shape == GEOMETRY.volume_shape[1:]]
        assert len(of_a_slice) == 2 * 5 * SETTINGS.batches * GEOMETRY.num_slices, "each slice of each update"


class RecordingCommunicator(SerialCommunicator):
    """Doubles what it is given when a sum ends."""

    def __init__(self) -> None:
        self.ended: list[int] = []
        self.begun = 0

    def begin_sum(self, tensor):
        number = self.begun
        self.begun += 1
        return lambda: (tensor.mul_(2), self.ended.append(number))


def test_sums_end_in_the_order_in_which_they_began_however_slices_come():
    potential = random_tensor(4, 5, 6, seed=1)
    transmitted, gradient = transmission(potential, 0.01), random_tensor(4, 5, 6, seed=2, dtype=torch.complex128)
    expected = 2 * transmission_gradient(gradient, transmitted, 0.01)
    for parts in ([slice(4)], [slice(3, 4), slice(2, 3), slice(2)]):
        communicator = RecordingCommunicator()
        found = SliceGradient(transmitted, 0.01, torch.float64, communicator)
        for part in parts:
            found.add(part, gradient[part])
        torch.testing.assert_close(found.total(), expected.real)
        assert communicator.ended == list(range(4))
