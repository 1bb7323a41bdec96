"""The folder of results is one folder: every rank must see in it what rank 0 writes, before anything is computed.

A folder on the disk of each host has the same path everywhere. Ranks that resume from it would not agree on what is
done, and their results would be in several places. So rank 0 writes the secret of this start there, in a file that
nobody else can read, and the other ranks have to find it.
"""

import os
import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dptt.io.errors import ProblemsError
from dptt.runtime.folders import check_writable, missing_folders, prepare_folder, remove_empty

APPEARS_WITHIN = 5.0
"""[s] A network file system may show a new file only after a while."""
CURE = "on a file system that all hosts share and may write to, or start all ranks on one host"


class FolderSecret:
    """The secret of a start in a file of the folder of results; see `distributed.seal.Secrets`.

    Parameters
    ----------
    results
        The folder of the run, or the file of the series if that is the only result.
    """

    def __init__(self, results: Path, *, of_series: bool = False) -> None:
        self._folder = results.parent if of_series else results
        self._of, self._cure = ("series", "Set `series` to a file") if of_series else ("run", "Set `run` to a folder")
        self._made: list[Path] = []

    def create(self) -> tuple[str, bytes]:
        """Create the folder and the secret in it, on rank 0."""
        self._made = missing_folders(self._folder)
        name, secret = f".start-{secrets.token_hex(8)}", secrets.token_hex(32).encode()
        try:
            prepare_folder(self._folder)
            descriptor = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(descriptor, secret)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except BaseException:
            self.remove(name, refused=True)
            raise
        return name, secret

    def read(self, name: str) -> bytes:
        """Return the secret that rank 0 has written.

        Raises
        ------
        ProblemsError
            This rank does not see it, or cannot write to the folder.
        """
        path, end = self._folder / os.path.basename(name), time.monotonic() + APPEARS_WITHIN
        while not (secret := _content(path)):
            if time.monotonic() > end:
                problem = f"is not the folder of the {self._of} that rank 0 has: {path.name} is missing"
                raise ProblemsError(self._folder, [f"{problem}. {self._cure} {CURE}"])
            time.sleep(0.1)
            with suppress(OSError):
                os.listdir(self._folder)  # makes NFS ask its server again
        try:
            check_writable(self._folder)
        except OSError as error:
            problem = f"cannot be written to ({error.strerror}). {self._cure} {CURE}"
            raise ProblemsError(self._folder, [problem]) from None
        return secret

    def remove(self, name: str, refused: bool) -> None:
        """Remove the file, on rank 0, and the folders that were made for it if the start is `refused`."""
        with suppress(OSError):
            (self._folder / name).unlink()
        if refused:
            remove_empty(self._made)

    @contextmanager
    def no_empty_folder_left(self) -> Iterator[None]:
        """If the block fails, remove the folders that were made for the secret, as far as they are empty."""
        try:
            yield
        except BaseException:
            remove_empty(self._made)
            raise


def refuse_missing(series: Path, missing: Collection[int], count: int, done: str) -> None:
    """Refuse to join tilts that other ranks have written beside `series`, if some of them are not to be seen here.

    Raises
    ------
    ProblemsError
        There are `missing` tilts, of `count` that some rank has `done`.
    """
    if missing:
        problem = f"{len(missing)} of {count} tilts are not here, though some rank has {done} them. Set "
        raise ProblemsError(series, [f"{problem}`series` to a file in a folder that all hosts share."])


def _content(path: Path) -> bytes:
    """Return the content of the file; empty if it is not there."""
    with suppress(OSError):
        return path.read_bytes()
    return b""
