"""A rank that fails before the ranks have met says why, with its name if others do not, and the others end soon."""

import os
import time
from pathlib import Path

import pytest
from command_line import Finished, start_ranks

SOON = 30.0
"""Seconds; much less than `distribution.patience`, for which they would wait otherwise."""


def fail_if(rank: int, name: str, place: str) -> None:
    """Let this process fail in the way `name` if it is `rank`; the others know the `place` of the series."""
    if int(os.environ["RANK"]) != rank or name != "config":
        os.environ["PLACE_OF_SERIES"] = place
    if int(os.environ["RANK"]) == rank and name == "fault":
        import dptt.config

        dptt.config.load_config = None


def run(size: int, rank: int, name: str, tiny: Path, tmp_path: Path, *overrides: str) -> list[Finished]:
    began = time.monotonic()
    arguments = ["reconstruct", str(tiny / "tiny.yaml"), f"run={tmp_path / 'run'}", *overrides]
    ranks = start_ranks(size, arguments, tmp_path / "said", fail_if, (rank, name, str(tiny)))
    ended = [one.wait() for one in ranks]
    assert time.monotonic() - began < SOON
    return ended


@pytest.mark.parametrize("rank", [0, 2])
def test_a_configuration_that_one_rank_cannot_read_ends_all_and_names_it(rank, tiny, tmp_path):
    ended = run(3, rank, "config", tiny, tmp_path, "series=${PLACE_OF_SERIES}/series.h5")
    assert [one.code for one in ended] == [2, 2, 2]
    said = "".join(one.stderr for one in ended)
    assert said.count("error: ") == 1 and f"error: rank {rank} (host " in said, said
    assert "PLACE_OF_SERIES not set" in said
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_fault_of_the_program_on_one_rank_is_shown_once_with_its_traceback(tiny, tmp_path):
    ended = run(3, 1, "fault", tiny, tmp_path)
    assert [one.code for one in ended] == [2, 1, 2]
    said = "".join(one.stderr for one in ended)
    assert said.count("rank 1 (host ") == 1 and said.count("TypeError: 'NoneType' object is not callable") >= 1, said
    assert said.count("Traceback") == 1


def test_what_all_ranks_have_is_said_once_without_a_rank(tiny, tmp_path):
    ended = run(3, 3, "", tiny, tmp_path, "reconstruction.epochs=-1")
    assert [one.code for one in ended] == [2, 2, 2]
    said = "".join(one.stderr for one in ended)
    assert said.count("error: ") == 1 and "reconstruction.epochs" in said and "rank " not in said, said
