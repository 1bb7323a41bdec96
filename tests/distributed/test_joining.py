"""Ranks find each other, all of them or none: backends, missing ranks, restarts at a store that remembers."""

import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ports import free_port
from ranks import Group
from torch.distributed import TCPStore

from dptt.distributed import joining, rendezvous
from dptt.distributed.joining import choose_backend, open_communicator
from dptt.distributed.launch import LaunchError, Placement, detect_placement
from dptt.distributed.rendezvous import listening_socket
from dptt.distributed.seal import Seal
from dptt.distributed.verdict import Sign

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
    (line,) = ended.said.splitlines()
    for rank in (1, 2):
        assert f"rank {rank} (host {socket.gethostname()}): distribution.backend is nccl, but there is no GPU" in line
    assert "rank 0 (" not in line


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
    ("missing", "codes", "words"),
    [
        (2, [1, 1, 0], "error: 2 of 3 ranks joined within 3 s; missing: rank 2."),
        (0, [0, 0, 0], "1: rank 1 on "),
    ],
    ids=["the last", "the first"],
)
def test_a_rank_that_never_comes_is_missed_by_name(tmp_path, missing, codes, words):
    ended = Group(3, join, (missing, 3.0), tmp_path / "log").wait()
    assert ended.codes == codes
    assert ended.said.count(words) == 1
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


class OneSecret:
    """A secret that rank 0 makes, and that other ranks know as `known`."""

    def __init__(self, known: bytes) -> None:
        self.known = known

    def create(self) -> tuple[str, bytes]:
        return "token", b"of rank 0"

    def read(self, name: str) -> bytes:
        assert name == "token"
        return self.known

    def remove(self, name: str, refused: bool) -> None:
        os.write(2, b"removed\n")


def join_with_secret(rank: int, known: list[bytes]) -> None:
    secrets = OneSecret(known[rank])
    with open_communicator(detect_placement(os.environ), "gloo", 20.0, secrets=secrets) as communicator:
        communicator.sum_(torch.ones(1))


def test_ranks_with_the_secret_of_rank_0_meet_and_it_is_removed(tmp_path):
    ended = Group(3, join_with_secret, ([b"of rank 0"] * 3,), tmp_path / "log").wait()
    assert (ended.codes, ended.said) == ([0, 0, 0], "removed\n")


def test_a_rank_without_the_secret_is_not_let_in(tmp_path):
    ended = Group(3, join_with_secret, ([b"", b"of rank 0", b"another"],), tmp_path / "log").wait()
    assert ended.codes == [1, 1, 1]
    said = [line for line in ended.said.splitlines() if line.startswith("error: ")]
    assert said == [f"error: rank 2 (host {socket.gethostname()}): does not know the secret of rank 0"]


FORGER = Seal(b"guessed")


def connect() -> TCPStore:
    port = int(os.environ["MASTER_PORT"])
    return TCPStore("127.0.0.1", port, is_master=False, timeout=timedelta(seconds=9), wait_for_workers=False)


def forge() -> None:
    """Post a verdict and a sign of life, as another user if this is root, who can become one."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(12345)
        os.setuid(12345)
    store = connect()
    (verdict,) = (key for key in store.list_keys() if key.endswith("/verdict"))
    start = verdict.removesuffix("/verdict")
    failed = Sign(1, "host", 1, "failed", 9, "bought").as_text(5)
    store.set(verdict, FORGER.close(verdict, "0 the end"))
    store.set(f"{start}/sign/1", FORGER.close(f"{start}/sign/1", failed))
    store.set(f"{start}/forged", "both")


def meet_among_forgers(rank: int) -> None:
    """Let another program answer for rank 0 and post a verdict and signs, then work on."""
    with open_communicator(detect_placement(os.environ), "gloo", 20.0, secrets=OneSecret(b"of rank 0")) as ranks:
        ranks.sum_(torch.ones(1))
        if rank == 0 and (forger := os.fork()) == 0:
            try:
                forge()
            finally:
                os._exit(0)
        elif rank == 0:
            os.waitpid(forger, 0)
            assert any(key.endswith("/forged") for key in connect().list_keys())
        ranks.sum_(torch.ones(1))
        time.sleep(2.5)
        ranks.sum_(torch.ones(1))


def test_messages_of_a_program_without_the_secret_do_not_count(tmp_path):
    ended = Group(2, meet_among_forgers, (), tmp_path / "log").wait()
    assert (ended.codes, ended.said.replace("removed\n", "")) == ([0, 0], "")


def listening_at(host: str) -> str:
    with listening_socket(host, 0) as listener:
        return listener.getsockname()[0]


def test_the_store_listens_at_the_address_of_its_host_only(monkeypatch):
    assert listening_at("127.0.0.1") == listening_at("localhost") == "127.0.0.1"
    assert listening_at("127.0.0.2") == "127.0.0.2"

    def name_of_this_host(address: str):
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))]
        monkeypatch.setattr(rendezvous.socket, "getaddrinfo", lambda *arguments, **options: found)
        return listening_at("n1")

    assert name_of_this_host("127.0.1.1") == "0.0.0.0", "as Debian names its own host: no other could connect"
    assert name_of_this_host("192.0.2.1") == "0.0.0.0", "an address of a router in front of it"


class Exploit:
    def __reduce__(self):
        return (os.write, (2, b"ran\n"))


def send_a_pickle(rank: int) -> None:
    with open_communicator(detect_placement(os.environ), "gloo", 20.0) as communicator:
        if rank == 0:
            answer = communicator.gather_messages("of rank 0")
            os.write(2, repr(answer[1][:1]).encode())
        else:
            communicator.gather_messages(pickle.dumps(Exploit(), protocol=0).decode("latin1"))


def test_a_message_is_text_and_is_not_unpickled(tmp_path):
    ended = Group(2, send_a_pickle, (), tmp_path / "log").wait()
    assert (ended.codes, ended.said) == ([0, 0], "'c'")


def test_nothing_unpickles_what_another_process_wrote():
    sources = {path: path.read_text() for path in Path(joining.__file__).parents[1].rglob("*.py")}
    unsafe = (
        r"_object\(|\bpickle\b|mpi\.(all)?(gather|reduce|bcast|scatter|send|recv)\(|allow_pickle=True|weights_only=F"
    )
    formats = Path("io/importers/formats")  # files, not messages: test_zenodo13060513, test_import_starts
    restricted = {formats / "zarr_objects.py", formats / "torch_archive.py"}
    found = {
        path.relative_to(Path(joining.__file__).parents[1])
        for path, text in sources.items()
        if re.search(unsafe, text)
    }
    assert found == restricted
    for name in restricted:
        text = next(text for path, text in sources.items() if path.match(str(name)))
        assert (
            {"pickle.Unpickler"}
            <= set(re.findall(r"pickle\.\w+", text))
            <= {
                "pickle.Unpickler",
                "pickle.UnpicklingError",
            }
        )
        assert "def find_class(" in text, "it is asked what a file may name"


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


@pytest.mark.thorough
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
