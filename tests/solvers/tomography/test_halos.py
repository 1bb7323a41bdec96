"""Which rows a rank needs of others, apart from its own."""

import pytest

from dptt.solvers.tomography.tilted_volume import halos

BLOCKS = [range(0, 4), range(4, 8), range(8, 11)]


def test_nobody_asks_where_every_rank_needs_its_own_rows_alone():
    assert halos(BLOCKS, BLOCKS) == []


def test_foreign_rows_are_those_before_and_those_behind():
    before, behind = halos([range(0, 6), range(2, 10), range(7, 11)], BLOCKS)
    assert before == [range(0, 0), range(2, 4), range(7, 8)]
    assert behind == [range(4, 6), range(8, 10), range(11, 11)]


@pytest.mark.parametrize("source", [range(0, 3), range(9, 11), range(5, 6), range(0, 0), range(2, 11), range(4, 8)])
def test_every_row_is_asked_for_once_wherever_a_translation_moves_them(source):
    before, behind = (part[1] for part in halos([BLOCKS[0], source, range(8, 10)], BLOCKS))
    assert sorted([*before, *behind]) == sorted(set(source) - set(BLOCKS[1]))
    assert not len(before) or before.stop <= BLOCKS[1].start
    assert not len(behind) or behind.start >= BLOCKS[1].stop
