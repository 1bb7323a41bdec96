"""A reader sees the old file or the new one, never half of one."""

import os
import time

import pytest

from dptt.io.atomic_write import STALE_AFTER, write_beside


def test_a_file_appears_under_its_name_only_when_it_is_complete(tmp_path):
    target = tmp_path / "result.h5"
    with write_beside(target) as partial:
        partial.write_text("half")
        assert not target.exists()
        assert partial.parent == tmp_path and partial.suffix == ".h5"
    assert target.read_text() == "half"
    assert os.listdir(tmp_path) == ["result.h5"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "result.h5"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), write_beside(target, overwrite=True) as partial:
        partial.write_text("new")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.h5"]


def test_an_existing_file_is_not_replaced_unless_asked(tmp_path):
    target = tmp_path / "result.h5"
    target.write_text("old")
    with pytest.raises(FileExistsError, match="already exists. Choose another name"), write_beside(target):
        pass
    with write_beside(target, overwrite=True) as partial:
        partial.write_text("new")
    assert target.read_text() == "new"


def test_a_file_that_appears_meanwhile_is_not_replaced_either(tmp_path):
    target = tmp_path / "result.h5"
    with pytest.raises(FileExistsError), write_beside(target) as partial:
        partial.write_text("ours")
        target.write_text("theirs")
    assert target.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["result.h5"]


def test_a_missing_folder_is_named_with_its_cure(tmp_path):
    with pytest.raises(FileNotFoundError, match="Create .*nowhere first"), write_beside(tmp_path / "nowhere/a.h5"):
        pass


def test_what_a_killed_writer_left_is_removed_once_it_is_stale(tmp_path):
    stale, fresh, other = (
        tmp_path / name for name in (".a.h5.1-ab.partial.h5", ".a.h5.2-cd.partial.h5", ".b.h5.3-ef.partial.h5")
    )
    for path in (stale, fresh, other):
        path.write_text("half")
    long_ago = time.time() - STALE_AFTER - 60
    for path in (stale, other):
        os.utime(path, (long_ago, long_ago))
    with write_beside(tmp_path / "a.h5") as partial:
        partial.write_text("whole")
    assert sorted(os.listdir(tmp_path)) == sorted([fresh.name, other.name, "a.h5"])
