"""What was compiled is kept for the next run, and never trusted blindly."""

import importlib
import os
import sys

import pytest

from dptt.kernels.disk_cache import UnsafeCacheError, cache_folder, own_folder, remembered


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "of user"))
    return tmp_path / "of user" / "dptt"


class Compiler:
    """Counts how often it is asked."""

    def __init__(self, content: bytes = b"machine code") -> None:
        self.content, self.calls = content, 0

    def __call__(self) -> bytes:
        self.calls += 1
        return self.content


def test_the_same_is_made_once_and_another_anew(folder):
    make, other = Compiler(), Compiler(b"")
    assert [remembered("cuda", b"source", make) for _ in range(3)] == [b"machine code"] * 3
    assert [remembered("cuda", b"another source", other) for _ in range(2)] == [b"", b""]
    assert (make.calls, other.calls) == (1, 1)
    assert cache_folder() == folder
    assert len(list((folder / "cuda").iterdir())) == 2, "nothing temporary is left"


@pytest.mark.parametrize("damage", [b"", b"short", bytes(50)], ids=["empty", "cut off", "changed"])
def test_a_damaged_file_is_made_anew(folder, damage):
    make = Compiler()
    remembered("cuda", b"source", make)
    (file,) = (folder / "cuda").iterdir()
    file.write_bytes(damage)
    assert [remembered("cuda", b"source", make) for _ in range(2)] == [b"machine code"] * 2
    assert make.calls == 2


def test_where_nothing_can_be_written_nothing_is_kept(folder):
    folder.parent.mkdir()
    folder.write_text("a file where the folder should be")
    make = Compiler()
    assert [remembered("cuda", b"source", make) for _ in range(2)] == [b"machine code"] * 2
    assert make.calls == 2
    assert folder.is_file()


def test_a_compiler_that_fails_leaves_nothing(folder):
    def refuse() -> bytes:
        raise RuntimeError("identifier is undefined")

    with pytest.raises(RuntimeError, match="undefined"):
        remembered("cuda", b"source", refuse)
    assert list((folder / "cuda").iterdir()) == []


def test_a_folder_is_made_for_its_user_alone_whatever_the_mask(folder):
    before = os.umask(0)
    try:
        remembered("cuda", b"source", Compiler())
    finally:
        os.umask(before)
    assert (folder / "cuda").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o707, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused_with_the_cure(folder, mode):
    (folder / "cuda").mkdir(parents=True)
    (folder / "cuda").chmod(mode)
    with pytest.raises(UnsafeCacheError, match=f"all users.*`chmod go-w {folder / 'cuda'}`.*XDG_CACHE_HOME"):
        remembered("cuda", b"source", Compiler())


def test_a_folder_that_a_group_can_write_to_is_refused_unless_only_its_user_is_in_it(folder, monkeypatch):
    own_folder(folder)
    folder.chmod(0o770)
    monkeypatch.setattr("dptt.kernels.disk_cache._is_private", lambda group: False)
    with pytest.raises(UnsafeCacheError, match="by the group"):
        own_folder(folder)
    monkeypatch.setattr("dptt.kernels.disk_cache._is_private", lambda group: True)
    assert own_folder(folder) == folder


def test_a_folder_that_others_can_replace_is_refused_but_not_in_a_sticky_one(folder):
    own_folder(folder)
    folder.parent.chmod(0o777)
    with pytest.raises(UnsafeCacheError, match=f"{folder.parent} can be written to by all users"):
        own_folder(folder)
    folder.parent.chmod(0o1777)
    assert own_folder(folder) == folder


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_the_folder_of_another_user_is_refused(folder):
    own_folder(folder)
    os.chown(folder, 12345, -1)
    with pytest.raises(UnsafeCacheError, match="belongs to the user 12345"):
        own_folder(folder)


def test_no_compiler_uses_an_unsafe_folder(folder, monkeypatch):
    own_folder(folder)
    folder.chmod(0o777)
    compiled = pytest.importorskip("dptt.kernels.cpu.compiled")
    monkeypatch.setattr(compiled.config, "CACHE_DIR", str(folder.parent))
    with pytest.raises(UnsafeCacheError):
        compiled._folder.__wrapped__()
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(folder))
    monkeypatch.delitem(sys.modules, "dptt.kernels.triton.language", raising=False)
    with pytest.raises(UnsafeCacheError):
        importlib.import_module("dptt.kernels.triton.language")
