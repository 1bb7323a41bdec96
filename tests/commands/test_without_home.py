"""A user whom the system does not know, as in containers that run under any number, has no home."""

import os
import pwd

import pytest

from dptt.cli import main


def nobody(number: int):
    raise KeyError(f"getpwuid(): uid not found: {number}")


def test_a_user_without_a_home_gets_one_that_keeps_nothing(monkeypatch):
    monkeypatch.setenv("HOME", "")  # so that it comes back after the test
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert not os.path.exists(os.path.expanduser("~"))
    assert os.path.isabs(os.path.expanduser("~")), "libraries do not take the name for a folder of the run"


def test_a_home_stays_what_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SystemExit):
        main(["--version"])
    assert os.environ["HOME"] == str(tmp_path)
