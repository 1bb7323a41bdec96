"""Sums, votes and messages over real processes; each size is started once and answers all questions."""

from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

from dptt.distributed.comm import Communicator, SerialCommunicator
from dptt.distributed.joining import open_communicator
from dptt.distributed.launch import Placement
from dptt.distributed.mpi_comm import MpiCommunicator
from dptt.distributed.torch_comm import TorchCommunicator

SHAPE = (3, 4, 5)
DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128, torch.int64)


def part(rank: int, dtype: torch.dtype) -> torch.Tensor:
    """Return what `rank` contributes: whole numbers, so that sums are exact."""
    values = torch.arange(3 * 4 * 5).reshape(SHAPE) * (rank + 2) + rank
    return (values * (1 - 2j) if dtype.is_complex else values).to(dtype)


def answers(communicator) -> dict:
    """Return everything that a communicator says, for one rank."""
    rank = communicator.rank
    found = {"rank": rank, "size": communicator.size}
    sums, in_place = {}, {}
    for dtype in DTYPES:
        tensor = part(rank, dtype)
        sums[dtype] = communicator.sum_(tensor)
        in_place[dtype] = sums[dtype] is tensor
    found |= {"sums": sums, "in_place": in_place, "bytes": communicator.bytes_sent}
    begun = [part(rank, dtype) for dtype in DTYPES]
    for end in [communicator.begin_sum(tensor) for tensor in begun]:
        end()
    found["begun"] = dict(zip(DTYPES, begun, strict=True))
    found["any"] = [communicator.any(False), communicator.any(rank == communicator.size - 1), communicator.any(True)]
    found["maximum"] = communicator.maximum(-float(rank) if rank != 1 else 2.5)
    found["messages"] = communicator.gather_messages("" if rank == 1 else f"Å from {rank}")
    before = communicator.bytes_sent
    found["ring"] = ring(communicator)
    found["bytes of the ring"] = communicator.bytes_sent - before
    found["seconds"] = communicator.seconds_communicating
    odd = communicator.split(rank % 2)
    found["odd"] = (type(odd).__name__, odd.rank, odd.size, odd.sum_(torch.tensor([10**rank])).item())
    return found


def ring(communicator) -> torch.Tensor | None:
    """Return what the rank before sends: as many rows as its number, so rank 0 sends an empty message."""
    rank, size = communicator.rank, communicator.size
    if size == 1:
        return None
    received = torch.zeros((rank - 1) % size, 4, dtype=torch.complex64)
    row = torch.arange(4) + 1j
    communicator.exchange(
        {(rank + 1) % size: (row * rank).expand(rank, 4).contiguous()}, {(rank - 1) % size: received}
    )
    return received


def refusals() -> list[str]:
    """Return why views that share memory with more than themselves are not summed."""
    found = []
    whole = torch.zeros(4, 6, dtype=torch.complex64)
    for view in (whole[:, 0], whole.real, whole.T, whole[::2]):
        try:
            TorchCommunicator().sum_(view)
        except ValueError as error:
            found.append(str(error))
    return found


def worker(index: int, size: int, folder: str) -> None:
    dist.init_process_group(
        "gloo", f"file://{folder}/meeting", rank=index, world_size=size, timeout=timedelta(seconds=60)
    )
    communicator = TorchCommunicator()
    found = answers(communicator) | {"refusals": refusals()}
    torch.save(found, f"{folder}/{index}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=[2, 3])
def group(request, tmp_path_factory) -> list[dict]:
    """Answers of every rank of a group, by rank."""
    folder = tmp_path_factory.mktemp("group")
    torch.multiprocessing.start_processes(
        worker, (request.param, str(folder)), nprocs=request.param, start_method="forkserver"
    )
    return [torch.load(folder / f"{rank}.pt") for rank in range(request.param)]


def test_every_rank_knows_its_place(group):
    assert [(found["rank"], found["size"]) for found in group] == [(rank, len(group)) for rank in range(len(group))]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_sum_is_that_of_all_ranks_on_every_rank(group, dtype):
    expected = sum(part(rank, dtype) for rank in range(len(group)))
    for found in group:
        assert found["sums"][dtype].dtype == dtype
        assert torch.equal(found["sums"][dtype], expected)
        assert torch.equal(found["begun"][dtype], expected)


def test_a_sum_replaces_the_tensor_it_was_given(group):
    assert all(found["in_place"][dtype] for found in group for dtype in DTYPES)


def test_a_vote_is_won_by_one_rank_and_lost_only_by_all(group):
    assert [found["any"] for found in group] == [[False, True, True]] * len(group)


def test_messages_arrive_on_every_rank_in_order_of_rank(group):
    expected = ["Å from 0", "", "Å from 2"][: len(group)]
    assert [found["messages"] for found in group] == [expected] * len(group)


def test_the_maximum_is_that_of_all_ranks(group):
    assert [found["maximum"] for found in group] == [2.5] * len(group)


def test_an_exchange_brings_every_rank_what_was_sent_to_it_even_nothing(group):
    for rank, found in enumerate(group):
        before = (rank - 1) % len(group)
        expected = ((torch.arange(4) + 1j) * before).expand(before, 4)
        assert torch.equal(found["ring"], expected)


def test_what_is_sent_in_an_exchange_is_counted_in_bytes(group):
    assert [found["bytes of the ring"] for found in group] == [rank * 4 * 8 for rank in range(len(group))]


def test_the_time_that_a_rank_waits_for_messages_is_counted(group):
    assert all(0 < found["seconds"] < 60 for found in group)
    assert SerialCommunicator().seconds_communicating == 0


def test_ranks_of_the_same_colour_share_a_communicator_in_their_order(group):
    even = ("TorchCommunicator", 1, 2, 101) if len(group) == 3 else ("SerialCommunicator", 0, 1, 1)
    assert group[1]["odd"] == ("SerialCommunicator", 0, 1, 10)
    assert group[-1]["odd"] == even if len(group) == 3 else group[0]["odd"] == even


@pytest.mark.parametrize("kind", [SerialCommunicator, TorchCommunicator, MpiCommunicator])
def test_all_communicators_offer_the_same(kind):
    promised = {name for name in vars(Communicator) if not name.startswith("_")}
    assert promised <= set(dir(kind))


def test_what_is_summed_is_counted_in_bytes(group):
    assert [found["bytes"] for found in group] == [60 * (4 + 8 + 8 + 16 + 8)] * len(group)


def test_a_strided_view_is_refused_not_summed_wrongly(group):
    for found in group:
        assert len(found["refusals"]) == 4
        assert all("contiguous" in reason for reason in found["refusals"])


def test_a_communicator_of_one_rank_gives_back_what_it_is_given():
    found = answers(SerialCommunicator())
    assert (found["rank"], found["size"], found["bytes"]) == (0, 1, 0)
    assert all(torch.equal(found["sums"][dtype], part(0, dtype)) for dtype in DTYPES)
    assert (found["any"], found["messages"]) == ([False, True, True], ["Å from 0"])


def test_one_process_joins_no_group():
    with open_communicator(Placement("torchrun", 0, 1, 0)) as communicator:
        assert isinstance(communicator, SerialCommunicator)
        assert not dist.is_initialized()
