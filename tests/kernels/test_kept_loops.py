"""What numba keeps on disk, when processes compile at the same moment."""

import pytest

pytest.importorskip("numba")
from dptt.kernels.cpu import compiled  # noqa: E402


def double(x):
    return 2 * x


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Return the files of one function as two processes see them, both before anything was kept."""
    monkeypatch.setattr(compiled, "_folder", lambda: str(tmp_path))
    return [compiled.compiled(double)._cache._cache_file for _ in range(3)]


def test_versions_for_different_types_never_share_a_file(kept, monkeypatch):
    one, other, later = kept
    save = one._save_data

    def after_the_other(name, data):
        monkeypatch.setattr(other, "_load_index", lambda: {})  # read before the first process wrote it
        other.save("complex64", "code for complex64")
        save(name, data)

    monkeypatch.setattr(one, "_save_data", after_the_other)
    one.save("float32", "code for float32")
    assert later.load("complex64") == "code for complex64"
    assert later.load("float32") is None, "forgotten, and so compiled again"


def test_what_one_process_kept_another_finds(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "_folder", lambda: str(tmp_path))
    assert compiled.compiled(double)(1.5) == 3.0
    again = compiled.compiled(double)
    assert again(2.5) == 5.0
    assert sum(again.stats.cache_hits.values()) == 1
