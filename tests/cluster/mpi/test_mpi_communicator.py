"""The communicator over mpi4py, on four ranks, against what each operation must give."""

import pytest
import torch

from dptt.distributed.mpi_comm import MpiCommunicator

pytestmark = pytest.mark.mpi


@pytest.fixture
def communicator(world) -> MpiCommunicator:
    return MpiCommunicator(world)


def values(rank: int, dtype: torch.dtype) -> torch.Tensor:
    """Return fifteen numbers that differ from rank to rank; complex ones have two different parts."""
    real = torch.arange(15).reshape(3, 5) * (rank + 1) - 7
    return (real + (1j * (rank + 2) * real.flip(0) if dtype.is_complex else 0)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128, torch.int64])
def test_the_sum_over_ranks_replaces_the_tensor_in_place(communicator, dtype):
    mine = values(communicator.rank, dtype)
    before = communicator.bytes_sent
    returned = communicator.sum_(mine)
    assert returned.data_ptr() == mine.data_ptr()
    assert torch.equal(mine, sum(values(rank, dtype) for rank in range(4)))
    assert communicator.bytes_sent - before == 15 * mine.element_size()


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex128])
def test_rows_reach_the_ranks_they_are_meant_for(communicator, dtype):
    """Around the ring: each rank sends rank + 1 rows to the next, and two to the one before."""
    rank = communicator.rank
    following, preceding = (rank + 1) % 4, (rank - 1) % 4
    outgoing = {following: values(rank, dtype)[:1].repeat(rank + 1, 1), preceding: values(rank, dtype)[1:]}
    incoming = {
        preceding: torch.zeros(preceding + 1, 5, dtype=dtype),
        following: torch.zeros(2, 5, dtype=dtype),
    }
    communicator.exchange(outgoing, incoming)
    assert torch.equal(incoming[preceding], values(preceding, dtype)[:1].repeat(preceding + 1, 1))
    assert torch.equal(incoming[following], values(following, dtype)[1:])


def test_nobody_needs_to_send_anything(communicator):
    communicator.exchange({}, {})
    if communicator.rank == 3:
        communicator.exchange({0: torch.zeros(0, 5)}, {0: torch.zeros(0, 5)})
    elif communicator.rank == 0:
        communicator.exchange({3: torch.zeros(0, 5)}, {3: torch.zeros(0, 5)})
    assert communicator.any(True), "all ranks are here"


def test_one_rank_that_says_yes_is_enough(communicator):
    assert communicator.any(communicator.rank == 2)
    assert not communicator.any(False)


def test_the_largest_number_is_known_to_all(communicator):
    assert communicator.maximum([-4.0, -2.5, -9.0, -3.0][communicator.rank]) == -2.5


def test_messages_come_in_the_order_of_ranks(communicator):
    mine = "tilt_0003 ü" * communicator.rank
    assert communicator.gather_messages(mine) == ["tilt_0003 ü" * rank for rank in range(4)]


def test_ranks_that_give_the_same_colour_come_together(communicator):
    together = communicator.split(communicator.rank % 3)
    expected = {0: [0, 3], 1: [1], 2: [2]}[communicator.rank % 3]
    assert (together.size, together.rank) == (len(expected), expected.index(communicator.rank))
    assert together.sum_(torch.tensor([10**communicator.rank])).item() == sum(10**rank for rank in expected)


def test_a_strided_view_is_refused(communicator):
    with pytest.raises(ValueError, match="contiguous"):
        communicator.sum_(torch.zeros(4, 3)[:, 0])
