"""A step that is killed just before it is complete does not look complete, and is complete when it is started again.

`dptt run` skips a step whose mark, the file with its identity, exists. So the mark is the last file of a step.
"""

import os
import signal
from pathlib import Path

import pytest
from command_line import RunningCommand, files_in, small_pictures

from dptt.cli import main

QUICK = ["volume.voxel_size=0.45", "reconstruction.every=2"]
MARKS = {"ptycho": "ptychography.h5", "align": "alignment.h5", "report": "report.html"}


def kill_before(mark: str, log: str) -> None:
    """Kill this process before the file `mark` gets its name; note the names of all files before it."""
    small_pictures()
    replace, names = os.replace, []

    def replace_or_die(source, target):
        if Path(target).name == mark:
            os.kill(os.getpid(), signal.SIGKILL)
        names.append(Path(target).name)
        Path(log).write_text("\n".join(names))
        replace(source, target)

    os.replace = replace_or_die


NAMES = [pytest.param(name, marks=pytest.mark.thorough if name == "report" else []) for name in MARKS]


@pytest.mark.parametrize("command", NAMES)
def test_the_mark_of_a_step_is_its_last_file(tiny, tmp_path, command):
    run = tmp_path / "run"
    arguments = [command, str(run)]
    if command != "report":
        arguments = [command, str(tiny / "tiny.yaml"), f"run={run}", *QUICK]
    if command == "ptycho":
        arguments += ["ptychography.epochs=1"]
    before = {"align": ["ptycho", "ptychography.epochs=1"], "report": ["reconstruct", "reconstruction.epochs=1"]}
    for first, *options in [before[command]] if command in before else []:
        assert main([first, str(tiny / "tiny.yaml"), f"run={run}", *QUICK, *options]) == 0

    def ended(mark: str) -> int:
        said, names = tmp_path / "said", tmp_path / "names"
        return RunningCommand(arguments, said, before=kill_before, before_arguments=(mark, str(names))).wait().code

    mark = MARKS[command]
    assert ended(mark) == -signal.SIGKILL
    assert not (run / mark).exists()
    left = files_in(run)
    assert ended("") == 0
    assert set(files_in(run)) - set(left) == {mark}, "all else was there before the mark"
    assert (tmp_path / "names").read_text().split()[-1] == mark
