"""Blocks of an axis: every index is owned by exactly one rank, whatever the length."""

import pytest

from dptt.distributed.partition import block_range


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 12, 40, 101])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 64])
def test_blocks_tile_the_axis_in_order_and_differ_by_at_most_one(length, size):
    blocks = [block_range(length, size, rank) for rank in range(size)]
    assert [index for block in blocks for index in block] == list(range(length))
    assert max(map(len, blocks)) - min(map(len, blocks)) <= 1


@pytest.mark.parametrize(("size", "rank"), [(3, 3), (3, -1), (1, 1)])
def test_a_rank_outside_its_group_is_refused(size, rank):
    with pytest.raises(ValueError, match=rf"rank must be in \[0, {size}\), got {rank}"):
        block_range(10, size, rank)
