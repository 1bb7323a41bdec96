"""Ranks find each other, all of them or none: backends, missing ranks, restarts at a store that remembers."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ports import free_port
from ranks import Group
from torch.distributed import TCPStore

from dptt.distributed import joining
from dptt.distributed.joining import choose_backend, open_communicator
from dptt.distributed.launch import LaunchError, Placement, detect_placement

TORCHRUN = Placement("torchrun", 1, 4, 1)
MPIRUN = Placement("mpirun", 1, 4, 1, mpi=True)
SRUN = Placement("srun", 1, 4, 1)
SRUN_PMIX = Placement("srun", 1, 4, 1, mpi=True)


@pytest.mark.parametrize(
    ("placement", "gpus", "mpi4py", "expected"),
    [
        (TORCHRUN, 0, True, "gloo"),
        (TORCHRUN, 2, True, "nccl"),
        (TORCHRUN, 1, True, "gloo"),
        (MPIRUN, 0, True, "mpi"),
        (MPIRUN, 4, True, "nccl"),
        (SRUN, 0, True, "gloo"),
        (SRUN_PMIX, 0, True, "mpi"),
        (SRUN_PMIX, 0, False, "gloo"),
    ],
)
def test_the_backend_follows_from_what_a_rank_has(placement, gpus, mpi4py, expected):
    assert choose_backend(placement, "auto", gpus, mpi4py) == expected


@pytest.mark.parametrize("placement", [TORCHRUN, MPIRUN, SRUN, SRUN_PMIX])
def test_gloo_can_be_had_under_every_launcher(placement):
    assert choose_backend(placement, "gloo", 4, True) == "gloo"


@pytest.mark.parametrize(
    ("placement", "backend", "mpi4py", "words"),
    [
        (TORCHRUN, "nccl", True, ("no GPU for local rank 1", "distribution.backend=gloo")),
        (TORCHRUN, "mpi", True, ("torchrun does not start MPI", "Start with mpirun")),
        (SRUN_PMIX, "mpi", False, ("mpi4py is not installed",)),
        (SRUN, "mpi", True, ("srun does not start MPI", "--mpi=pmix")),
    ],
)
def test_what_a_backend_lacks_is_said_with_the_cure(placement, backend, mpi4py, words):
    with pytest.raises(LaunchError) as failure:
        choose_backend(placement, backend, 0, mpi4py)
    assert all(word in str(failure.value) for word in words), failure.value


@pytest.mark.parametrize(("placement", "cure"), [(MPIRUN, "use the mpirun of the library"), (SRUN_PMIX, "--mpi=...")])
def test_an_mpi_of_another_launcher_is_refused_before_each_process_does_the_whole_work(monkeypatch, placement, cure):
    world = SimpleNamespace(size=1)
    fake = SimpleNamespace(COMM_WORLD=world, Get_library_version=lambda: "MPICH Version: 5.0.2\nand more")
    monkeypatch.setitem(sys.modules, "mpi4py", SimpleNamespace(MPI=fake))
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", fake)
    with pytest.raises(
        LaunchError, match=r"started 4 processes, but MPI \(MPICH Version: 5.0.2\) joined 1 of them"
    ) as e:
        joining._joined_mpi(placement)
    assert cure in str(e.value)


def test_mpirun_without_mpi4py_says_what_to_install_or_start_instead(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(LaunchError, match="mpirun started 4 processes.*`pip install mpi4py`.*`torchrun"):
        joining._joined_mpi(MPIRUN)


def ask_for_gpus(rank: int) -> None:
    with open_communicator(detect_placement(os.environ), "nccl" if rank else "gloo", 20.0):
        pass


def test_what_one_rank_lacks_is_said_once_and_ends_all(tmp_path):
    ended = Group(3, ask_for_gpus, (), tmp_path / "log").wait()
    assert ended.codes == [1, 1, 1]
    assert ended.said.count("LaunchError: distribution.backend is nccl, but there is no GPU for local rank 1") == 1


def test_one_process_joins_no_group():
    with open_communicator(Placement("torchrun", 0, 1, 0)) as communicator:
        assert communicator.size == 1
        assert not torch.distributed.is_initialized()


def join(rank: int, missing: int | None, patience: float) -> None:
    if rank == missing:
        return
    try:
        with open_communicator(detect_placement(os.environ), "gloo", patience):
            pass
    except LaunchError as error:
        os.write(2, f"{rank}: {error}\n".encode())


@pytest.mark.parametrize(
    ("missing", "words"),
    [(2, "0: 2 of 3 ranks joined within 6 s; missing: rank 2."), (0, "1: rank 1 on ")],
    ids=["the last", "the first"],
)
def test_a_rank_that_never_comes_is_missed_by_name(tmp_path, missing, words):
    ended = Group(3, join, (missing, 6.0), tmp_path / "log").wait()
    assert ended.codes == [0, 0, 0]
    assert words in ended.said
    assert "Check that" in ended.said


def attempt(rank: int, folder: str, number: int) -> None:
    with open_communicator(detect_placement(os.environ), "gloo", 20.0) as communicator:
        total = communicator.sum_(torch.tensor([10**rank])).item()
        Path(folder, f"{number}-{rank}").write_text(str(total))
        if number == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def test_ranks_started_again_at_the_same_store_meet_each_other_not_the_dead(tmp_path):
    """As under `torchrun --max-restarts`, whose agent keeps the store; no variable counts the attempts here."""
    store = TCPStore("127.0.0.1", free_port(), is_master=True, timeout=timedelta(seconds=30))
    store.set(f"dptt/arrival/{store.add('dptt/arrivals', 1)}", "a number that nobody waits for")
    store.add("dptt/arrivals", 1)  # died between its number and its posting
    variables = {"MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for number, code in ((0, -9), (1, 0), (2, 0)):
        ended = Group(3, attempt, (str(tmp_path), number), tmp_path / "log", **variables).wait()
        assert ended.codes == [code] * 3, ended.said
        assert [(tmp_path / f"{number}-{rank}").read_text() for rank in range(3)] == ["111"] * 3


RESTARTED = """
import os, signal
from dptt.distributed.joining import open_communicator
from dptt.distributed.launch import detect_placement
import torch
placement, attempt = detect_placement(os.environ), int(os.environ["TORCHELASTIC_RESTART_COUNT"])
with open_communicator(placement, "gloo", 20.0) as communicator:
    communicator.sum_(torch.ones(1))
    if attempt < 2 and placement.rank == attempt:
        os.kill(os.getpid(), signal.SIGKILL)
    communicator.sum_(torch.ones(1))
    if placement.rank == 0:
        print("finished at attempt", attempt)
"""


@pytest.mark.slow
def test_torchrun_restarts_ranks_without_losing_an_attempt(tmp_path):
    (tmp_path / "work.py").write_text(RESTARTED)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=2"]
    environment = {k: v for k, v in os.environ.items() if k != "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"}
    done = subprocess.run(
        [*command, str(tmp_path / "work.py")], capture_output=True, text=True, timeout=240, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["finished at attempt 2"]
