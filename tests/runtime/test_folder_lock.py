"""One process at a time holds the lock of a folder, whoever is killed and whenever; checked with real processes."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from dptt.io.errors import ProblemsError, WriteError
from dptt.runtime import folder_lock
from dptt.runtime.folder_lock import NAME, LockedError, locked
from dptt.runtime.run_folder import writing_into, writing_series

HOLDER = """
import sys, time
from pathlib import Path
from dptt.runtime.folder_lock import locked
with locked(Path(sys.argv[1]), "reconstruct"):
    print("held", flush=True)
    time.sleep(60)
"""
VISITOR = """
import os, sys, time
from pathlib import Path
from dptt.runtime.folder_lock import LockedError, _started, locked
folder = Path(sys.argv[1])
while not (folder / "stop").exists():
    try:
        with locked(folder, "reconstruct"):
            others = [int(other.name[7:]) for other in folder.glob("inside-*")]
            print("together" if any(map(_started, others)) else "alone", flush=True)
            own = folder / f"inside-{os.getpid()}"
            own.touch()
            time.sleep(0.002)
            own.unlink()
    except LockedError:
        pass
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"SLURM_JOB_ID": "4711"},
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def on_another_host(path):
    """Let the lock look as if its owner were on another host."""
    beats, owner = path.read_bytes().split(b"\n", 1)
    with path.open("r+b") as file:  # the owner keeps the file that it has open
        file.write(beats + b"\n" + json.dumps(json.loads(owner) | {"host": "elsewhere"}).encode())


def test_the_second_is_refused_by_the_name_of_the_first(tmp_path, holder):
    with pytest.raises(LockedError) as refused, locked(tmp_path, "align"):
        pass
    assert f"`dptt reconstruct` on host {os.uname().nodename} (process {holder.pid}, SLURM job 4711)" in str(
        refused.value
    )
    assert isinstance(refused.value, ProblemsError)
    assert os.listdir(tmp_path) == [NAME]


def test_a_folder_is_free_after_its_owner_ends_in_order_or_is_killed(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)  # nobody waits for it: a zombie is dead too
    time.sleep(0.2)
    with locked(tmp_path, "align"):
        assert json.loads((tmp_path / NAME).read_bytes().split(b"\n")[1])["command"] == "align"
        with pytest.raises(LockedError, match="`dptt align`"), locked(tmp_path, "report"):
            pass
    assert os.listdir(tmp_path) == []


def test_a_process_that_has_the_number_of_a_dead_one_is_not_taken_for_it(tmp_path, holder):
    path = tmp_path / NAME
    beats, owner = path.read_bytes().split(b"\n", 1)
    holder.kill()
    holder.wait()
    path.write_bytes(beats + b"\n" + json.dumps(json.loads(owner) | {"pid": os.getppid()}).encode())
    with locked(tmp_path, "align"):
        pass


def test_an_owner_on_another_host_is_watched_and_its_clock_is_not_asked(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(folder_lock, "WATCHED", 4.0)
    on_another_host(tmp_path / NAME)
    os.utime(tmp_path / NAME, (0, 0))
    with pytest.raises(LockedError, match="on host elsewhere"), locked(tmp_path, "align"):
        pass
    holder.kill()
    holder.wait()
    os.utime(tmp_path / NAME, (2**31, 2**31))
    with locked(tmp_path, "align"):
        pass


def test_an_owner_that_was_taken_for_dead_ends_when_it_wakes(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(folder_lock, "WATCHED", 2.5)
    on_another_host(tmp_path / NAME)
    holder.send_signal(signal.SIGSTOP)
    with locked(tmp_path, "align"):
        holder.send_signal(signal.SIGCONT)
        assert holder.wait(30) == 1
    assert os.listdir(tmp_path) == []


def test_a_damaged_lock_is_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "WATCHED", 0.5)
    (tmp_path / NAME).write_bytes(b"\0\0\0")
    with locked(tmp_path, "align"):
        pass


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_two_never_hold_the_lock_at_once_also_if_some_are_killed(tmp_path, links):
    """Whoever is inside leaves a file with its number, which a killed process cannot remove."""
    program = VISITOR
    if not links:
        program = "import errno, os\ndef link(*_): raise OSError(errno.EPERM, 'no')\nos.link = link\n" + VISITOR
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) for _ in range(5)
    ]
    for process in processes[:3]:
        process.stdout.readline()
        process.kill()
    time.sleep(1.0)
    (tmp_path / "stop").touch()
    said = b"".join(process.communicate(timeout=120)[0] for process in processes)
    assert said.count(b"alone") > 2 and b"together" not in said
    assert [process.returncode for process in processes] == [-signal.SIGKILL] * 3 + [0] * 2
    with locked(tmp_path, "align"):
        pass


def test_one_command_at_a_time_writes_a_series_and_others_beside_it(tmp_path):
    series = tmp_path / "series.h5"
    left, other = (tmp_path / f".{name}.h5.1-2.partial.h5" for name in ("series", "other"))
    for path in (left, other):
        path.touch()
    with writing_series(series, "simulate", False):
        assert not left.exists() and other.exists()
        with pytest.raises(
            LockedError, match=r"series\.h5: `dptt simulate` on host .* is writing this file"
        ) as refused:
            with writing_series(series, "import", True):
                pass
        assert "set another `series`" in str(refused.value)
        with writing_series(tmp_path / "other.h5", "import", False):
            assert not other.exists()
        with writing_into(tmp_path, "reconstruct", series=series):
            pass
    assert [path.name for path in tmp_path.glob(".dptt*")] == []


def test_a_lock_that_does_not_fit_on_the_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    def full(path, content):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_lock.Path, "write_bytes", full)
    with pytest.raises(WriteError, match=r"cannot be written \(No space left on device\)"):
        with locked(tmp_path, "reconstruct"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_what_killed_processes_left_while_they_asked_for_the_lock_is_removed(tmp_path):
    with locked(tmp_path, "reconstruct"):
        own = (tmp_path / NAME).read_bytes()
        beats, owner = own.split(b"\n", 1)
        dead = beats + b"\n" + json.dumps(json.loads(owner) | {"started": "1"}).encode()
        elsewhere = beats + b"\n" + json.dumps(json.loads(owner) | {"host": "elsewhere"}).encode()
    contents = {"dead.partial": dead, "living.partial": own, "elsewhere.partial": elsewhere, "empty.partial": b""}
    for name, content in contents.items():
        (tmp_path / f".{NAME}.{name}").write_bytes(content)
    (tmp_path / f"{NAME}.after-0123").write_bytes(dead)
    with locked(tmp_path, "reconstruct"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f".{NAME}.{name}.partial" for name in ("elsewhere", "empty", "living")
    ]
