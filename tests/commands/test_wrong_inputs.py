"""Wrong inputs and what is said to each. The answers are in wrong_inputs.txt, where they are to be read and judged.

DPTT_STORE_ANSWERS=1 writes that file again; read what has changed before you keep it.
"""

import os
import re
from pathlib import Path

import pytest
from wrong_inputs import WRONG

from dptt.cli import main

FILE = Path(__file__).with_name("wrong_inputs.txt")
INTERNAL = ("Traceback", "Input should be", "pydantic", "function-", "NoneType", "KeyError", "_counts")
"""Words of the program that say nothing to a user."""


def stored_answers() -> dict[str, str]:
    """Return name -> answer: blocks that begin with `## name`, then `$ dptt ...`."""
    blocks = re.split(r"^## ", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {block.partition("\n")[0]: block.partition("\n")[2].partition("\n")[2].strip() for block in blocks}


def answer(name: str, capsys) -> tuple[int, str]:
    """Return exit code and message, without the usage of the command."""
    words = re.split(r" (?![^{]*\})(?![^\[]*\])", WRONG[name].arguments)
    try:
        code = main([word for word in words if word])
    except SystemExit as end:
        code = int(end.code or 0)
    lines = capsys.readouterr().err.splitlines()
    first = next((number for number, line in enumerate(lines) if "error: " in line), len(lines))
    return code, "\n".join(lines[first:]).strip()


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_input_is_answered_in_words_that_help(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    wrong = WRONG[name]
    Path("c.yaml").write_text(wrong.text, encoding="utf-8")
    wrong.files()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, said = answer(name, capsys)
    assert code == 2
    assert not [word for word in INTERNAL if word in said]
    assert said.count("error: ") == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before, "nothing is written"
    if os.environ.get("DPTT_STORE_ANSWERS"):
        with FILE.open("a" if name != next(iter(WRONG)) else "w", encoding="utf-8") as file:
            file.write(f"## {name}\n$ dptt {wrong.arguments}\n{said}\n\n")
    else:
        assert said == stored_answers()[name]


def test_there_are_sixty_and_all_have_an_answer():
    assert len(WRONG) >= 60
    assert list(stored_answers()) == list(WRONG)
