"""On a full disk every command says which file could not be written and why, and leaves nothing half-written."""

import ctypes
import os
import resource
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from command_line import Finished, RunningCommand, files_in, run_ranks
from test_bad_import import foreign_config
from test_write_failures import limit_file_size

from dptt.cli import main
from dptt.io.exporters import EXPORTS

LIMIT = 8192
"""[bytes] Enough for the messages of a command; less than any result."""
QUICK = ["volume.voxel_size=0.45", "reconstruction.every=2", "reconstruction.epochs=1", "ptychography.epochs=1"]


@pytest.fixture(scope="module")
def done(tiny, tmp_path_factory) -> Path:
    """Folder of a run with the results that the commands below begin with."""
    run = tmp_path_factory.mktemp("done") / "run"
    for command in ("ptycho", "reconstruct", "analyze"):
        quick = [setting for setting in QUICK if command == "ptycho" or "ptycho" not in setting]
        assert main([command, str(tiny / "tiny.yaml"), f"run={run}", *quick]) == 0
    return run


def assert_said(ended: list[Finished], run: Path, cause: str) -> None:
    assert [one.code for one in ended] == [1] * len(ended), ended
    said = "".join(one.stderr for one in ended)
    assert said.count("error: ") == 1, said
    assert f"cannot be written ({cause}). Files that were complete are intact. Free some space" in said
    assert str(run) in said
    assert "Traceback" not in said and "HDF5" not in said and "h5py" not in said


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("command", ["brightfield", "ptycho", "align"])
def test_a_step_on_a_full_disk(tiny, tmp_path, done, command, ranks):
    run = Path(shutil.copytree(done, tmp_path / "run"))
    if command == "ptycho":
        shutil.rmtree(run / "ptychography")
    before = {name: (run / name).read_bytes() for name in files_in(run)}
    arguments = [command, str(tiny / "tiny.yaml"), f"run={run}", *QUICK[:2]]
    ended = run_ranks(ranks, arguments, tmp_path / "said", before=limit_file_size, before_arguments=(LIMIT,))
    assert_said(ended, run, "File too large")
    assert {name: (run / name).read_bytes() for name in files_in(run)} == before


@pytest.mark.parametrize("command", ["analyze", "report"])
def test_a_judgement_on_a_full_disk(tiny, tmp_path, done, dptt, command):
    run = Path(shutil.copytree(done, tmp_path / "run"))
    before = {name: (run / name).read_bytes() for name in files_in(run)}
    arguments = [command, run] if command == "report" else [command, tiny / "tiny.yaml", f"run={run}"]
    assert_said([dptt(*arguments, before=limit_to_messages)], run, "File too large")
    assert {name: (run / name).read_bytes() for name in files_in(run)} == before


def limit_to_messages() -> None:
    limit_file_size(LIMIT)


def test_a_series_on_a_full_disk(tiny, tmp_path, dptt):
    ended = dptt("simulate", tiny / "tiny.yaml", f"series={tmp_path / 'series.h5'}", before=limit_to_messages)
    assert_said([ended], tmp_path / "series.h5", "File too large")
    assert os.listdir(tmp_path) == []


@contextmanager
def no_space() -> Iterator[None]:
    """Let no file grow at all during the block, in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


ALONE = [
    *("import import.yaml", "init frames.npy", "schema -o schema.json", "compare run run -o page.html", "report run"),
    *(f"example {name}" for name in ("particle", "empad", "structures", "jobs", "00_minimal")),
    *(f"export run {kind}" for kind in EXPORTS if kind not in ("imod", "aretomo", "tiff")),
    *(f"{name} tiny.yaml" for name in ("simulate", "run", "validate", "brightfield", "atoms", "analyze")),
]
"""Commands whose first file of all cannot be written; IMOD and AreTomo need square pixels, TIFF says it otherwise."""


@pytest.mark.parametrize("command", ALONE)
def test_every_command_without_any_space(tiny, tmp_path, done, command, monkeypatch, capsys):
    foreign_config(tmp_path)
    shutil.copytree(done, tmp_path / "run")
    text = (tiny / "tiny.yaml").read_text().replace(f"{tiny}/run", "run").replace(f"{tiny}/series.h5", "new.h5")
    (tmp_path / "tiny.yaml").write_text(text + "atoms: {elements: [Pt]}\n")
    before = {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)}
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    with no_space():
        code = main(command.split())
    said = capsys.readouterr().err
    assert (code, said.count("error: ")) == (1, 1), said
    assert "cannot be written (File too large). Files that were complete are intact. Free some space" in said
    assert {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)} == before


@pytest.mark.parametrize("name", ["plan.txt", "machine.json", "reconstruct.sbatch"])
def test_a_plan_that_cannot_be_written(tiny, tmp_path, dptt, name):
    (tmp_path / "plan" / name).mkdir(parents=True)  # even root cannot write a file of this name
    ended = dptt("plan", tiny / "tiny.yaml", f"run={tmp_path}", "--machine", "h100")
    assert_said([ended], tmp_path / "plan" / name, "Is a directory")
    assert not list(tmp_path.rglob("*partial*"))


@pytest.mark.parametrize("command", ["plan", "brightfield", "ptycho", "align", "validate"])
def test_a_run_folder_that_cannot_be_made_is_refused_before_the_work(tiny, tmp_path, dptt, command):
    (tmp_path / "file").touch()
    machine = ["--machine", "h100"] if command == "plan" else []
    ended = dptt(command, tiny / "tiny.yaml", f"run={tmp_path / 'file' / 'run'}", *machine)
    assert ended.code == 2, ended.stderr
    assert "results cannot be written here (Not a directory). Make it writable, or set another folder" in ended.stderr
    assert "Traceback" not in ended.stderr


OTHER_USER = 12345
STEPS = [f"{name} tiny.yaml" for name in ("ptycho", "align", "reconstruct")] + ["plan tiny.yaml --machine h100"]
ELSEWHERE = {name: f"{name} series=new.h5" for name in ("simulate tiny.yaml", "run tiny.yaml")}
EVERY = [ELSEWHERE.get(command, command) for command in (*ALONE, *STEPS)]
SOME = ("reconstruct tiny.yaml", "init frames.npy")
HINDRANCES = {"another user": "Permission denied", "read-only": "Read-only file system", "full": "No space left"}
"""What keeps a command from writing -> what the system says."""


@pytest.fixture
def place(tiny, done) -> Iterator[Path]:
    """A file system of its own with what every command begins with."""
    folder = Path(tempfile.mkdtemp(prefix="dptt-"))
    if (
        os.getuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "mode=755", "dptt", str(folder)], capture_output=True
        ).returncode
    ):
        folder.rmdir()
        pytest.skip("only root can mount a file system and give files away")
    try:
        foreign_config(folder)
        shutil.copytree(done, folder / "run")
        text = (tiny / "tiny.yaml").read_text().replace(f"{tiny}/run", "run")
        (folder / "tiny.yaml").write_text(text + "atoms: {elements: [Pt]}\n")
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def hinder(folder: Path, hindrance: str) -> None:
    """Leave no way to write into `folder`, whose files stay as they are."""
    if hindrance == "another user":
        for path in (folder, *folder.rglob("*")):
            os.chown(path, OTHER_USER, OTHER_USER)
    elif hindrance == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    else:
        used = subprocess.run(["du", "-s", "-k", str(folder)], capture_output=True, text=True, check=True).stdout
        subprocess.run(["mount", "-o", f"remount,size={int(used.split()[0]) + 8}k", str(folder)], check=True)
        with suppress(OSError), (folder / "filled").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass


def go_there(folder: str) -> None:
    """Go to `folder` as an ordinary user: root without its capabilities may write only what is its own."""
    os.chdir(folder)
    header, none = struct.pack("Ii", 0x20080522, 0), ctypes.create_string_buffer(24)  # linux/capability.h, version 3
    assert ctypes.CDLL(None, use_errno=True).capset(header, none) == 0


@pytest.mark.parametrize("hindrance", HINDRANCES)
@pytest.mark.parametrize("command", [pytest.param(c, marks=[] if c in SOME else pytest.mark.thorough) for c in EVERY])
def test_every_command_where_nothing_can_be_written(place, tmp_path, command, hindrance):
    """The kernel itself says so: the file system is full or read-only, or belongs to another user."""
    hinder(place, hindrance)
    before = {name: (place / name).read_bytes() for name in files_in(place)}
    ended = RunningCommand(command.split(), tmp_path / "said", before=go_there, before_arguments=(str(place),)).wait()
    assert ended.code in (1, 2) and ended.stderr.count("error: ") == 1, ended
    assert "written" in ended.stderr and HINDRANCES[hindrance] in ended.stderr and "Traceback" not in ended.stderr
    assert {name: (place / name).read_bytes() for name in files_in(place)} == before
