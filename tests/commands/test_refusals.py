"""A command that is refused leaves nothing behind, on one rank as on several: no folder, no lock, no file."""

import pytest
from command_line import run_ranks

from dptt.cli import main

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
