"""Many ranks need few connections: rank 0 two for each, the others a fixed number, within the limit of the system."""

import os
import resource
from pathlib import Path

import pytest
import torch
from ranks import Group

from dptt.distributed.descriptors import allow_descriptors, needed_descriptors
from dptt.distributed.joining import open_communicator
from dptt.distributed.launch import LaunchError, detect_placement


def count_descriptors(rank: int, folder: str, soft: int, hard: int) -> None:
    os.closerange(64, 256)  # what the server of the tests has open is not counted
    before = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + soft, before + hard))
    with open_communicator(detect_placement(os.environ), "gloo", 100.0) as communicator:
        total = communicator.sum_(torch.ones(1)).item()
        assert communicator.gather_messages(str(rank)) == list(map(str, range(communicator.size)))
        Path(folder, str(rank)).write_text(f"{total:.0f} {len(os.listdir('/proc/self/fd')) - before}")


@pytest.mark.parametrize("size", [16, pytest.param(64, marks=pytest.mark.thorough)])
def test_a_limit_that_is_too_low_is_raised_and_the_highest_suffices(size, tmp_path):
    soft, hard = size, 2 * size + 24
    ended = Group(size, count_descriptors, (str(tmp_path), soft, hard), tmp_path / "log").wait()
    assert ended.codes == [0] * size, ended.said
    sums, counts = zip(*((tmp_path / str(rank)).read_text().split() for rank in range(size)), strict=True)
    assert set(sums) == {str(size)}
    assert soft < int(counts[0]) <= min(hard, needed_descriptors(size))
    assert max(map(int, counts[1:])) <= 12, "however many there are"


def test_a_system_that_allows_too_few_is_refused_by_rank_0_with_the_cure(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda what: (1024, 1024))
    allow_descriptors(0, 500)
    allow_descriptors(1, 5000)
    with pytest.raises(LaunchError, match="rank 0 of 600 needs about 1264 .* this host allows 1024.*ulimit -Hn"):
        allow_descriptors(0, 600)
