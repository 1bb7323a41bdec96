"""What stops the one rank that works for all stops all, with one and the same error."""

from contextlib import nullcontext
from functools import partial

import pytest

from dptt.config import ConfigError
from dptt.distributed.comm import SerialCommunicator
from dptt.io.brightfield import CalibrationError
from dptt.io.errors import ProblemsError, WriteError
from dptt.runtime.agreement import on_first_rank


class OneOfTwo(SerialCommunicator):
    """A rank that hears what rank 0 said in `said`."""

    size = 2

    def __init__(self, rank, said):
        self.rank, self.said = rank, said

    def working(self, what, alone=False):
        return nullcontext()

    def gather_messages(self, message):
        self.said += [message] if self.rank == 0 else []
        return [self.said[0], ""]


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (ConfigError("volume.thickness is 0 Å"), ConfigError),
        (FileExistsError("series.h5 exists"), FileExistsError),
        (WriteError("run/a.h5", ["the disk is full."]), WriteError),
        (CalibrationError("b.h5", ["has no tilts.", "is of another format."]), ProblemsError),
    ],
)
def test_all_ranks_raise_what_stopped_the_first(failure, raised):
    def work():
        raise failure

    said: list[str] = []
    errors = []
    for rank in (0, 1):
        with pytest.raises(raised) as caught:
            on_first_rank(OneOfTwo(rank, said), work)
        errors.append(f"{type(caught.value).__name__}: {caught.value}")
    assert errors[0] == errors[1] and str(failure) in errors[1]


def test_the_work_is_done_once_and_all_go_on():
    said, done = [], []
    for rank in (0, 1):
        on_first_rank(OneOfTwo(rank, said), lambda: done.append("work"))
    on_first_rank(SerialCommunicator(), lambda: done.append("alone"))
    assert done == ["work", "alone"]


def test_what_the_first_rank_decides_holds_on_all():
    said: list[str] = []
    answers = [on_first_rank(OneOfTwo(rank, said), partial(bool, rank == 0)) for rank in (0, 1)]
    assert answers == [True, True], "rank 1 alone would answer False"
    assert on_first_rank(SerialCommunicator(), lambda: "of one process") == "of one process"


def test_a_fault_of_the_program_leaves_the_first_rank_as_it_is():
    with pytest.raises(ZeroDivisionError):
        on_first_rank(OneOfTwo(0, []), lambda: 1 / 0)
