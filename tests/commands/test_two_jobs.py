"""A second command in the same run folder is refused, on all of its ranks, and harms nothing."""

import json
import os
import socket

import pytest
from command_line import RunningCommand, epochs_of, files_in, run_ranks, start_ranks, wait_until

from dptt.runtime.folder_lock import NAME

QUICK = ["volume.voxel_size=0.45", "reconstruction.every=2", "reconstruction.batches=2"]


@pytest.fixture
def running(tiny, tmp_path):
    """A reconstruction that has written a checkpoint and goes on for long."""
    arguments = ["reconstruct", str(tiny / "tiny.yaml"), f"run={tmp_path / 'run'}", *QUICK]
    command = RunningCommand([*arguments, "reconstruction.epochs=500"], tmp_path / "said")
    wait_until((tmp_path / "run" / "checkpoint.h5").exists, command)
    yield command, arguments
    command.kill()


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_second_reconstruction_is_refused_and_one_after_a_kill_is_not(tmp_path, running, ranks):
    first, arguments = running
    ended = run_ranks(ranks, [*arguments, "reconstruction.epochs=3", "--restart"], tmp_path / "second")
    assert [one.code for one in ended] == [2] * ranks
    said = "".join(one.stderr for one in ended)
    assert said.count("error: ") == 1 and "Traceback" not in said
    assert f"`dptt reconstruct` on host {socket.gethostname()} (process {first.process.pid})" in said
    assert first.process.is_alive()
    first.kill()
    done = epochs_of(tmp_path / "run")
    assert done == list(range(1, len(done) + 1))
    (tmp_path / "run" / ".volume.h5.1-2.partial.h5").touch()
    third = RunningCommand([*arguments, f"reconstruction.epochs={len(done) + 1}"], tmp_path / "third").wait()
    assert third.code == 0, third.stderr
    assert "took over from `dptt reconstruct`" in third.stderr and "resumed from" in third.stderr
    assert not [name for name in files_in(tmp_path / "run") if "partial" in name or NAME in name]


OTHERS = [
    pytest.param(name, marks=pytest.mark.thorough) for name in ("brightfield", "align", "analyze", "validate", "plan")
]


@pytest.mark.parametrize("command", ["run", "ptycho", *OTHERS])
def test_every_command_that_writes_into_the_folder_is_refused(tiny, tmp_path, running, dptt, command):
    ended = dptt(command, tiny / "tiny.yaml", f"run={tmp_path / 'run'}", *QUICK)
    assert ended.code == 2
    assert "is writing into this folder. Wait until it has ended" in ended.stderr


def test_the_report_is_refused_too(tmp_path, running, dptt):
    assert "is writing into this folder" in dptt("report", tmp_path / "run").stderr


def test_shares_write_together_but_not_beside_the_whole(tiny, tmp_path, running, dptt):
    first, _ = running
    share = ["ptycho", tiny / "tiny.yaml", f"run={tmp_path / 'run'}", "--share", "1/2"]
    assert "is writing into this folder" in dptt(*share).stderr
    first.kill()
    lock = tmp_path / "run" / f"{NAME}.share-0-of-2"
    owner = json.loads((tmp_path / "run" / NAME).read_bytes().split(b"\n")[1])
    alive = owner | {"pid": os.getpid(), "started": _own_start(), "command": "ptycho --share 0/2"}
    lock.write_bytes(b"0\n" + json.dumps(alive).encode())
    ended = dptt(*share)
    assert ended.code == 0, ended.stderr
    ended = dptt(*share[:3])
    assert ended.code == 2 and "`dptt ptycho --share 0/2` on host" in ended.stderr


def _own_start() -> str:
    with open("/proc/self/stat") as file:
        return file.read().rpartition(")")[2].split()[19]


def test_the_ranks_of_one_job_share_its_lock(tiny, tmp_path):
    arguments = ["ptycho", str(tiny / "tiny.yaml"), f"run={tmp_path / 'run'}", "ptychography.epochs=2"]
    ended = [command.wait() for command in start_ranks(2, arguments, tmp_path / "ranks")]
    assert [one.code for one in ended] == [0, 0], ended
    assert NAME not in files_in(tmp_path / "run")
