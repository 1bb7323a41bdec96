"""Mistaken arguments are answered with what was meant; shells complete commands and settings."""

import os
import subprocess
import sys

import pytest

import dptt
from dptt.arguments import setting_completions
from dptt.cli import COMMANDS, main

ROOT = os.path.dirname(os.path.dirname(dptt.__file__))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reconstruct", "c.yaml", "--epochs", "20"], ["settings have no dashes", "reconstruction.epochs=20"]),
        (["reconstruct", "c.yaml", "--epochs=20"], ["reconstruction.epochs=20"]),
        (["reconstruct", "c.yaml", "--epochs"], ["reconstruction.epochs=..."]),
        (["run", "c.yaml", "--voxel-size", "0.4"], ["volume.voxel_size=0.4"]),
        (["run", "c.yaml", "--reconstruction.epochs", "20"], ["reconstruction.epochs=20"]),
        (["run", "c.yaml", "--epoch", "20"], ["reconstruction.epochs=20"]),
        (["run", "c.yaml", "--energy=300e3"], ["import.energy=300e3"]),
        (["simulate", "c.yaml", "--overwritte"], ["did you mean --overwrite?"]),
        (["run", "c.yaml", "--gpu"], ["unrecognized option --gpu", "--no-validate"]),
        (["report", "folder", "a=b"], ["unrecognized argument: a=b"]),
        (["reconstrct", "c.yaml"], ["there is no command 'reconstrct'", "`reconstruct`"]),
        (["ptychography", "c.yaml"], ["did you mean `ptycho`?"]),
        (["mine.yaml"], ["`dptt run mine.yaml`"]),
        (["mine.yaml", "a.b=3"], ["`dptt run mine.yaml a.b=3`"]),
        (["xyz"], ["the commands are", "simulate"]),
    ],
    ids=" ".join,
)
def test_a_mistaken_argument_is_answered_with_what_was_meant(arguments, words, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    said = capsys.readouterr().err
    assert end.value.code == 2
    for word in words:
        assert word in said


def test_a_folder_of_data_is_answered_with_init(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path)])
    assert f"dptt init {tmp_path}" in capsys.readouterr().err


def completions(words: str) -> set[str]:
    """Return what bash is told when Tab is pressed after `words`."""
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "COMP_LINE": words,
        "COMP_POINT": str(len(words)),
        "COMP_TYPE": "",
    }
    command = f"import os; os.dup2(1, 8); from dptt.cli import main; main({words.split()[1:]!r})"
    done = subprocess.run([sys.executable, "-c", command], env=variables, capture_output=True, text=True, timeout=60)
    return {word.strip() for word in done.stdout.splitlines()}


def test_the_shell_completes_commands_and_options():
    assert completions("dptt re") == {"reconstruct", "report"}
    assert "--restart" in completions("dptt reconstruct --re")


def test_the_shell_completes_settings():
    found = setting_completions("reconstruction.ep")
    assert found == ["reconstruction.epochs=", "reconstruction.epsilon="]
    assert "import.energy=" in setting_completions("")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_registers_dptt(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "_ARGCOMPLETE" in script and "dptt" in script


def test_every_command_is_explained_in_one_line():
    assert all(len(summary) < 100 and not summary.endswith(".") for summary in COMMANDS.values())
