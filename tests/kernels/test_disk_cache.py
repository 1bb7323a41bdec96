"""What was compiled is kept for the next run, and never trusted blindly."""

import pytest

from dptt.kernels.disk_cache import cache_folder, remembered


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
    assert not (folder / "cuda").exists()
