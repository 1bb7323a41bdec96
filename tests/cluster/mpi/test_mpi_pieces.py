"""Messages that MPI takes only in pieces arrive whole and in order."""

import pytest
import torch

from dptt.distributed import mpi_comm
from dptt.distributed.mpi_comm import MpiCommunicator, pieces

pytestmark = pytest.mark.mpi


@pytest.fixture
def communicator(world, monkeypatch) -> MpiCommunicator:
    """A communicator that takes pieces of three complex numbers at most."""
    monkeypatch.setattr(mpi_comm, "PIECE", 24)
    return MpiCommunicator(world)


def test_a_message_is_cut_without_loss(communicator):
    message = torch.arange(32, dtype=torch.float32)
    parts = list(pieces(message))
    assert [len(part) for part in parts] == [6, 6, 6, 6, 6, 2]
    assert torch.equal(torch.cat(parts), message)
    assert list(pieces(message[:0])) == []


def test_a_sum_in_pieces_is_the_sum(communicator):
    tensor = torch.arange(16).to(torch.complex64) * (communicator.rank + 1j)
    communicator.sum_(tensor)
    assert torch.equal(tensor, torch.arange(16) * (6 + 4j))
    assert communicator.bytes_sent == 16 * 8


def test_exchanged_pieces_keep_their_order_between_every_pair(communicator):
    """Lengths differ from pair to pair, and one message is empty."""
    rank, size = communicator.rank, communicator.size
    message = {
        (a, b): torch.arange(5 * a * b).to(torch.complex128) + 100 * a + b for a in range(size) for b in range(size)
    }
    others = [peer for peer in range(size) if peer != rank]
    received = {peer: torch.zeros_like(message[peer, rank]) for peer in others}
    communicator.exchange({peer: message[rank, peer] for peer in others}, received)
    for peer in others:
        assert torch.equal(received[peer], message[peer, rank])
    assert communicator.bytes_sent == sum(message[rank, peer].numel() * 16 for peer in others)


def test_gpu_memory_is_given_to_mpi_only_if_the_library_says_so(monkeypatch):
    mpi_comm.mpi_reads_gpu_memory.cache_clear()
    assert mpi_comm.mpi_reads_gpu_memory() is False, "the MPIs of these tests are built without CUDA"
    mpi_comm.mpi_reads_gpu_memory.cache_clear()
    monkeypatch.setenv("MPICH_GPU_SUPPORT_ENABLED", "1")
    assert mpi_comm.mpi_reads_gpu_memory() is True
    mpi_comm.mpi_reads_gpu_memory.cache_clear()
