"""Ranks that die, hang or fail, in real processes: the others end soon, and one of them says why, once.

All groups are started together, as their ranks mostly wait.
"""

import os
import re
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ranks import Ended, Group

from dptt.distributed.joining import open_communicator
from dptt.distributed.launch import detect_placement

PATIENCE = 20.0
RESUMES = "the last checkpoint is intact; run the same command to resume"


def signal_to_oneself(number: int) -> None:
    os.kill(os.getpid(), number)


def deed(name: str, rank: int, communicator) -> None:
    """Do what makes the case `name`."""
    match name, rank:
        case ("killed", 1) | ("first rank killed", 0):
            signal_to_oneself(signal.SIGKILL)
        case "stopped", 2:
            signal_to_oneself(signal.SIGSTOP)
        case "hangs", 1:
            with communicator.working("reading tilt 0003"):
                time.sleep(1000)
        case "alone", 1:
            with communicator.working("simulating", alone=True):
                time.sleep(PATIENCE + 6)
        case "fails", 2:
            raise OSError("No space left on device")
        case "all fail", _:
            time.sleep(0.4 * rank)
            raise ValueError("a fault of the program")
        case "wrong message", 1:
            communicator.exchange({}, {0: torch.zeros(4)})


def work(rank: int, name: str, log: str) -> None:
    with open_communicator(detect_placement(os.environ), "gloo", PATIENCE) as communicator:
        communicator.sum_(torch.ones(2))
        Path(f"{log}.begun").write_text(str(time.time()))
        deed(name, rank, communicator)
        if name == "leave apart":
            time.sleep(2.0 * rank)
        else:
            communicator.sum_(torch.ones(2))
        Path(f"{log}.{rank}.done").touch()


CASES = (
    *("killed", "first rank killed", "stopped", "hangs", "alone", "fails", "all fail", "wrong message"),
    "leave apart",
)


@pytest.fixture(scope="module")
def groups(tmp_path_factory) -> dict[str, tuple[Group, Path]]:
    started = {}
    for name in CASES:
        log = tmp_path_factory.mktemp("group") / "log"
        started[name] = (Group(3, work, (name, str(log)), log), log)
    return started


@pytest.fixture
def ended(groups, request) -> Ended:
    """How the group of the case that the test names ended."""
    group, log = groups[request.param]
    result = group.wait()
    print(result.said)
    assert Path(f"{log}.begun").exists(), "the ranks never met"
    return replace(result, seconds=log.stat().st_mtime - Path(f"{log}.begun").stat().st_mtime)


def case(name: str):
    return pytest.mark.parametrize("ended", [name], indirect=True, ids=[name])


def errors(ended: Ended) -> list[str]:
    return [line for line in ended.said.splitlines() if line.startswith("error: ")]


@case("killed")
def test_a_killed_rank_ends_the_others_and_is_named_once(ended):
    assert ended.codes == [70, -9, 70]
    assert ended.seconds < PATIENCE, "a tenth of it, or 5 s"
    (message,) = errors(ended)
    assert re.fullmatch(rf"error: rank 1 \(host \S+, pid \d+\) died: no sign of life for 5 s; {RESUMES}", message), (
        message
    )
    assert "Traceback" not in ended.said


@case("first rank killed")
def test_the_rank_that_keeps_the_store_is_named_too(ended):
    assert ended.codes == [-9, 70, 70]
    (message,) = errors(ended)
    assert message.startswith("error: rank 0 (host ") and ") died, or the connection to " in message
    assert message.endswith(f"no answer for 5 s; {RESUMES}")
    assert "Traceback" not in ended.said


@case("stopped")
def test_a_stopped_rank_ends_the_others(ended):
    assert ended.codes == [70, 70, None]
    (message,) = errors(ended)
    assert message.startswith("error: rank 2 (host ") and "died: no sign of life for 5 s" in message


@case("hangs")
def test_a_rank_whose_main_thread_hangs_ends_all_of_them_itself_included(ended):
    assert ended.codes == [70, 70, 70]
    (message,) = errors(ended)
    assert re.search(r"rank 1 .* hangs: no progress for 20 s since its step \d+, reading tilt 0003; ", message)


@case("wrong message")
def test_a_rank_that_waits_for_a_message_that_nobody_sends_ends_all_of_them(ended):
    assert ended.codes == [70, 70, 70]
    assert len(errors(ended)) == 1


@case("alone")
def test_a_rank_that_says_it_works_alone_may_take_longer_than_the_patience(ended):
    assert ended.codes == [0, 0, 0]
    assert ended.said == ""


@case("fails")
def test_an_exception_on_one_rank_ends_all_and_is_shown_once(ended):
    assert ended.codes == [70, 70, 1]
    assert ended.said.count("Traceback") == 1
    (message,) = errors(ended)
    assert re.fullmatch(
        r"error: rank 2 \(host \S+, pid \d+\) failed with OSError: No space left on device", message
    ), message


@case("all fail")
def test_the_same_exception_on_all_ranks_is_shown_once_without_a_rank(ended):
    assert ended.codes == [1, 1, 1]
    assert ended.said.count("Traceback") == 1
    assert ended.said.count("ValueError: a fault of the program") == 1
    assert errors(ended) == []


@case("leave apart")
def test_ranks_may_leave_one_after_the_other(ended):
    assert ended.codes == [0, 0, 0]
    assert ended.said == ""
