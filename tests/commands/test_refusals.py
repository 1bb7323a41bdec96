"""A command that is refused leaves nothing behind, on one rank as on several: no folder, no lock, no file."""

import os
import time
from pathlib import Path

import pytest
from command_line import edit_series, run_ranks

from dptt.cli import main
from dptt.distributed.roster import _Host
from dptt.distributed.watch import Watch
from dptt.runtime.shared_folder import FolderSecret

MISSING = "series=/nowhere/series.h5"
REFUSED = {
    "simulate": ["simulation.scan.step=1e12"],
    "import": ["import=null"],
    "run": ["simulation.scan.step=1e12"],
    "brightfield": ["brightfield={}", MISSING],
    "ptycho": [MISSING],
    "align": [],
    "reconstruct": [MISSING],
    "atoms": ["atoms={elements: [Pt]}"],
    "analyze": [],
    "validate": [MISSING],
    "plan": [MISSING, "simulation=null"],
}
"""Command -> settings with which it cannot begin."""
SHARED = ("simulate", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("import", "run", "reconstruct")))
"""Commands that are refused on three ranks too; the others pass through the same door."""


def refused(name: str, tiny, tmp_path) -> list[str]:
    folder = tmp_path / "new" / "run"
    return [name, str(tiny / "tiny.yaml"), f"run={folder}", f"series={tmp_path}/new/s.h5", *REFUSED[name]]


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_command_leaves_nothing(tiny, tmp_path, capsys, name):
    assert main(refused(name, tiny, tmp_path)) == 2, capsys.readouterr().err
    assert "error: " in capsys.readouterr().err and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", SHARED)
def test_a_command_that_is_refused_on_three_ranks_leaves_nothing(tiny, tmp_path, tmp_path_factory, name):
    said = tmp_path_factory.mktemp("said")
    ended = run_ranks(3, refused(name, tiny, tmp_path), said)
    assert [one.code for one in ended] == [2] * 3, ended
    assert "".join(one.stderr for one in ended).count("error: ") == 1 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [[], ["--share=0/2"]])
def test_the_log_of_a_refused_command_is_kept_only_if_the_folder_has_something_else(
    tiny, tmp_path, monkeypatch, share
):
    """A tilt that cannot be read is said in the log before the next thing that is wrong ends the command."""

    def spoil(file):
        del file["tilts/0001/data"]

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    series, folder = edit_series(tiny / "series.h5", tmp_path / "series.h5", spoil), tmp_path / "new"
    settings = [f"series={series}", f"run={folder}", "distribution.device=cuda"]
    assert main(["ptycho", str(tiny / "tiny.yaml"), *settings, *share]) == 2
    assert not folder.exists()
    folder.mkdir()
    (folder / "volume.h5").touch()
    assert main(["ptycho", str(tiny / "tiny.yaml"), *settings, *share]) == 2
    assert "tilt 0001 is left out" in (folder / "run.log").read_text()


def look_at_end(folder: Path, seen: Path, one_lacks_it: bool) -> None:
    """Note in `seen` what is in `folder` when rank 0 lets the others end; then a launcher may kill rank 0."""
    rank = os.environ["RANK"]

    def looking(end):
        def look(*arguments):
            if rank == "0":
                seen.write_text(repr([path.name for path in folder.iterdir()]))
            end(*arguments)

        return look

    def cannot_read(secret: FolderSecret, name: str) -> bytes:
        raise OSError("not here")

    if one_lacks_it and rank == "1":
        FolderSecret.read = cannot_read
    Watch.leave_failed = looking(Watch.leave_failed)
    _Host.wait_until_heard = looking(_Host.wait_until_heard)


@pytest.mark.parametrize(("name", "one_lacks_it"), [("import", False), ("reconstruct", True)])
def test_rank_0_has_removed_its_folders_before_the_others_know_that_they_end(
    tiny, tmp_path, tmp_path_factory, name, one_lacks_it
):
    """A launcher ends all ranks as soon as one of them has ended."""
    said = tmp_path_factory.mktemp("said")
    ended = run_ranks(2, refused(name, tiny, tmp_path), said, look_at_end, (tmp_path, said / "seen", one_lacks_it))
    assert [one.code for one in ended] == [2, 2] and (said / "seen").read_text() == "[]", ended


def make_folders_late() -> None:
    """Let rank 1 make any folder only when rank 0 has been refused and has removed its own."""
    if os.environ["RANK"] == "1":
        mkdir = os.mkdir

        def late(*arguments, **named):
            time.sleep(1.0)
            mkdir(*arguments, **named)

        os.mkdir = late


@pytest.mark.parametrize(
    "name",
    [
        "reconstruct",
        *(pytest.param(n, marks=pytest.mark.thorough) for n in ("ptycho", "brightfield", "align", "atoms")),
    ],
)
def test_a_late_rank_does_not_make_the_folder_of_a_refused_command_again(tiny, tmp_path, tmp_path_factory, name):
    ended = run_ranks(2, refused(name, tiny, tmp_path), tmp_path_factory.mktemp("said"), make_folders_late)
    assert [one.code for one in ended] == [2, 2] and list(tmp_path.iterdir()) == [], ended
