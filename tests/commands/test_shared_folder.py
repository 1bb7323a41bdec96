"""Ranks whose run folder is not one and the same folder stop before they compute; what is done is decided once."""

import os
import re
from pathlib import Path

import pytest
from command_line import Finished, start_ranks
from test_bad_import import foreign_config

ELSEWHERE = "/proc/self/cwd/run"
"""One path for all processes, which leads each to a folder of its own, as a local disk does on every host."""


def enter(folders: list[Path]) -> None:
    """Work in the folder of this rank, as `ELSEWHERE` understands it; wait for a file of another host but shortly."""
    import dptt.runtime.shared_folder as shared_folder

    shared_folder.APPEARS_WITHIN = 0.3
    os.chdir(folders[int(os.environ["RANK"])])


def run_apart(command: str, tiny: Path, tmp_path: Path, hosts: list[str], *overrides: str) -> list[Finished]:
    """Run a command with rank i on the host `hosts[i]`; return how each ended."""
    folders = [tmp_path / host for host in hosts]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    arguments = [command, str(tiny / "tiny.yaml"), f"run={ELSEWHERE}", f"series={tiny / 'series.h5'}", *overrides]
    ranks = start_ranks(len(hosts), arguments, tmp_path / "said", enter, (folders,))
    return [rank.wait() for rank in ranks]


@pytest.mark.parametrize("command", ["reconstruct", "align"])
def test_a_folder_that_another_host_does_not_share_is_an_error_that_names_its_ranks(command, tiny, tmp_path):
    ended = run_apart(command, tiny, tmp_path, ["a", "b", "a", "b"])
    assert [one.code for one in ended] == [2] * 4, ended
    said = "".join(one.stderr for one in ended)
    assert said.count("error: ") == 1, said
    (line,) = (line for line in said.splitlines() if "error: " in line)
    assert re.match(r"error: rank 1 \(host \S+\), rank 3 \(host \S+\): ", line), line
    assert f"{ELSEWHERE}: is not the folder of the run that rank 0 has" in line and "Set `run` to a folder" in line
    assert not any((tmp_path / host / "run").exists() for host in "ab"), "nothing was begun, and nothing is left"


@pytest.mark.parametrize(
    "command",
    ["reconstruct", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("run", "brightfield", "align"))],
)
def test_a_series_that_one_host_lacks_is_named_before_anything_is_created(command, tiny, tmp_path):
    folders = [tmp_path / host for host in "ab"]
    for folder in folders:
        folder.mkdir()
    (folders[0] / "series.h5").symlink_to(tiny / "series.h5")
    settings = ["series=/proc/self/cwd/series.h5", f"run={tmp_path / 'runs' / 'one'}", "simulation=null"]
    arguments = [command, str(tiny / "tiny.yaml"), *settings]
    ended = [rank.wait() for rank in start_ranks(2, arguments, tmp_path / "said", enter, (folders,))]
    assert [one.code for one in ended] == [2, 2], ended
    said = "".join(one.stderr for one in ended)
    assert said.count("error: ") == 1 and "Traceback" not in said
    assert 'has the file `series` = "there is no such file.' in said and "rank 1 (host " in said
    assert "Copy series.h5 to every host, or keep it where all hosts can read it" in said
    assert not (tmp_path / "runs").exists(), "nothing was begun, and nothing is left"


def make_apart(command: str, section: str, series: str, tiny: Path, tmp_path: Path) -> str:
    """Make a series from a section with two hosts that share the folder of the run, but not that of the series."""
    settings = [f"series=/proc/self/cwd/{series}", f"run={tmp_path / 'run'}"]
    config = foreign_config(tmp_path) if section == "import" else tiny / "tiny.yaml"
    folders = [tmp_path / host for host in "ab"]
    for folder in folders:
        folder.mkdir()
    arguments = [command, str(config), *settings]
    ended = [rank.wait() for rank in start_ranks(2, arguments, tmp_path / "said", enter, (folders,))]
    assert [one.code for one in ended] == [2, 2], ended
    return "".join(one.stderr for one in ended)


def test_a_series_is_not_begun_in_a_folder_that_another_host_does_not_share(tiny, tmp_path):
    said = make_apart("simulate", "simulation", "new/series.h5", tiny, tmp_path)
    assert "rank 1 (host " in said and "is not the folder of the series that rank 0 has" in said
    assert "Set `series` to a file on a file system that all hosts share" in said and said.count("error: ") == 1
    assert not any((tmp_path / host / "new").exists() for host in "ab")


@pytest.mark.parametrize("section", ["simulation", "import"])
def test_tilts_that_another_host_has_written_to_its_own_disk_are_missed_in_words(section, tiny, tmp_path):
    said = make_apart("run", section, "series.h5", tiny, tmp_path)
    count = {"simulation": "2 of 5", "import": "1 of 2"}[section]
    assert f"{count} tilts are not here" in said and "Set `series` to a file in a folder that all" in said
    assert said.count("error: ") == 1 and "cannot be written" not in said
    assert not list(tmp_path.glob("*/series.h5*")) and not list(tmp_path.glob("*/.series*.partial*"))


@pytest.mark.thorough
def test_a_copy_of_a_started_run_on_another_host_is_refused_too(tiny, tmp_path, dptt):
    """Each host would resume its own copy."""
    for host in ("a", "b"):
        ended = dptt("reconstruct", tiny / "tiny.yaml", f"run={tmp_path / host / 'run'}", "reconstruction.epochs=1")
        assert ended.code == 0, ended.stderr
    ended = run_apart("reconstruct", tiny, tmp_path, ["a", "b"], "reconstruction.epochs=2")
    assert [one.code for one in ended] == [2, 2]
    assert "rank 1 (host " in ended[0].stderr + ended[1].stderr
    assert "epoch 002" not in ended[0].stderr
