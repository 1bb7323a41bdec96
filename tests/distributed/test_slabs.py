"""`Rows` on its own: what is fetched is what was wanted, and giving back is its exact adjoint."""

import threading
from functools import partial

import pytest
import torch
from checks import random_tensor

from dptt.distributed.comm import SerialCommunicator
from dptt.distributed.launch import LaunchError
from dptt.distributed.mesh import Mesh
from dptt.distributed.slabs import Rows

LENGTH, WIDTH = 11, 5
BLOCKS = {1: [11], 2: [6, 5], 3: [4, 4, 3], 4: [3, 3, 3, 2]}
WANTED = {
    "own rows and a halo": lambda block: range(max(block.start - 1, 0), min(block.stop + 2, LENGTH)),
    "everything": lambda block: range(LENGTH),
    "nothing": lambda block: range(0),
    "before the first row": lambda block: range(block.start - 9, block.start - 2),
    "beyond the last row": lambda block: range(block.stop + 4, block.stop + 14),
    "some rows twice": lambda block: range(-3, LENGTH + 4),
    "what it owns": lambda block: block,
}


class Threads:
    """Threads as ranks: `exchange` is all that `Rows` needs of a communicator."""

    def __init__(self, size):
        self.size, self.barrier, self.sent = size, threading.Barrier(size), {}

    def run(self, work):
        """Return what `work(communicator)` returns on every rank."""
        results = [None] * self.size

        def rank(number):
            communicator = SerialCommunicator()
            communicator.rank, communicator.size = number, self.size
            communicator.exchange = partial(self.exchange, number)
            results[number] = work(communicator)

        threads = [threading.Thread(target=rank, args=(number,)) for number in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert None not in results
        return results

    def exchange(self, rank, outgoing, incoming):
        self.sent.update({(rank, peer): tensor.clone() for peer, tensor in outgoing.items()})
        self.barrier.wait()
        for peer, tensor in incoming.items():
            assert self.sent[peer, rank].shape == tensor.shape
            tensor.copy_(self.sent[peer, rank])
        self.barrier.wait()


@pytest.fixture
def volume():
    return random_tensor(3, LENGTH, WIDTH, seed=1, dtype=torch.complex128)


def own_of(volume, rows):
    return volume[:, rows.own.start : rows.own.stop]


def inner(a, b):
    return torch.vdot(a.flatten(), b.flatten())


@pytest.mark.parametrize("size", BLOCKS)
@pytest.mark.parametrize("what", WANTED)
def test_fetched_rows_are_those_of_the_whole_counted_periodically(volume, size, what):
    def work(communicator):
        rows = Rows(LENGTH, communicator)
        assert [len(block) for block in rows.blocks] == BLOCKS[size]
        wanted = [WANTED[what](block) for block in rows.blocks]
        expected = volume[:, [row % LENGTH for row in wanted[communicator.rank]]]
        return torch.equal(rows.fetch(own_of(volume, rows), wanted), expected)

    assert Threads(size).run(work) == [True] * size


@pytest.mark.parametrize("size", BLOCKS)
@pytest.mark.parametrize("what", WANTED)
def test_giving_back_is_the_adjoint_of_fetching(volume, size, what):
    def work(communicator):
        rows = Rows(LENGTH, communicator)
        wanted = [WANTED[what](block) for block in rows.blocks]
        block = own_of(volume, rows)
        fetched = rows.fetch(block, wanted)
        part = random_tensor(*fetched.shape, seed=2 + communicator.rank, dtype=torch.complex128)
        given_back = rows.give_back(part, wanted)
        assert given_back.shape == block.shape
        return torch.stack(
            [torch.vdot(fetched.flatten(), part.flatten()), torch.vdot(block.flatten(), given_back.flatten())]
        )

    forward, backward = sum(Threads(size).run(work))
    torch.testing.assert_close(forward, backward, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("size", BLOCKS)
def test_a_volume_cut_along_x_instead_holds_whole_columns_and_turns_back(volume, size):
    def work(communicator):
        rows = Rows(LENGTH, communicator)
        columns, mine = rows.turned(own_of(volume, rows))
        there = torch.equal(columns, volume[:, :, mine.start : mine.stop])
        return there, torch.equal(rows.turned_back(columns, WIDTH), own_of(volume, rows)), mine

    found = Threads(size).run(work)
    assert all(there and back for there, back, _ in found)
    assert [x for *_, mine in found for x in mine] == list(range(WIDTH))


def test_every_rank_can_hold_all_rows(volume):
    found = Threads(3).run(
        lambda communicator: Rows(LENGTH, communicator).whole(own_of(volume, Rows(LENGTH, communicator)))
    )
    assert all(torch.equal(whole, volume) for whole in found)


def test_a_mesh_with_ranks_that_would_have_nothing_is_refused_with_all_reasons():
    one, three, four = SerialCommunicator(), SerialCommunicator(), SerialCommunicator()
    three.size, four.size = 3, 4
    mesh = Mesh(world=one, group=one, scan=one, slab=four, tilt=three)
    mesh.check(height=4, tilts=3)
    with pytest.raises(LaunchError, match="slabs: got 4, but the volume has 3 rows.*groups.count: got 3, but 2 tilt"):
        mesh.check(height=3, tilts=2)
