"""On a full disk every command says which file could not be written and why, and leaves nothing half-written."""

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import Finished, files_in, run_ranks
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
