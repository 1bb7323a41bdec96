"""Another user of the machine reads no secret of ours, changes no code that we will run, and runs none of ours."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dptt.kernels.disk_cache import UnsafeCacheError, remembered
from dptt.runtime.shared_folder import FolderSecret

OTHER = 12345
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that all users can enter, unlike those of pytest."""
    made = Path(tempfile.mkdtemp(prefix="dptt-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def by_another_user(action: Callable[[], object]) -> str:
    """Return what another user gets from `action`: "done", or type and text of the exception."""
    answer, told = os.pipe()
    child = os.fork()
    if child == 0:
        said = "done"
        try:
            os.setgroups([])
            os.setgid(OTHER)
            os.setuid(OTHER)
            action()
        except Exception as failure:
            said = f"{type(failure).__name__}: {failure}"
        finally:
            os.write(told, said.encode())
            os._exit(0)
    os.close(told)
    with os.fdopen(answer) as file:
        said = file.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks beside threads
def test_the_secret_of_a_start_and_the_compiled_kernels_are_for_their_user_alone(folder, monkeypatch):
    name, _ = FolderSecret(folder).create()
    assert by_another_user((folder / name).read_bytes).startswith("PermissionError")
    assert by_another_user((folder / name).unlink).startswith("PermissionError")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    remembered("cuda", b"source", lambda: b"machine code")
    (kernel,) = (folder / "dptt" / "cuda").iterdir()
    for change in (kernel.read_bytes, kernel.unlink, lambda: kernel.write_bytes(b"another's code")):
        assert by_another_user(change).startswith("PermissionError")
    assert remembered("cuda", b"source", lambda: pytest.fail("kept")) == b"machine code"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_cache_that_another_user_has_made_is_not_used(folder, monkeypatch):
    folder.chmod(0o1777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    assert by_another_user(lambda: (folder / "dptt").mkdir(0o777)) == "done"
    with pytest.raises(UnsafeCacheError, match=f"belongs to the user {OTHER}"):
        remembered("cuda", b"source", lambda: b"machine code")
