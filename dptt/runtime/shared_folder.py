"""The folder of a run is one folder: every rank must see in it what rank 0 writes, before anything is computed.

A folder on the disk of each host has the same path everywhere. Ranks that resume from it would not agree on what is
done, and their results would be in several places. So rank 0 writes the secret of this start there, in a file that
nobody else can read, and the other ranks have to find it.
"""

import os
import secrets
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from dptt.io.errors import ProblemsError
from dptt.runtime.folders import check_writable, prepare_folder

APPEARS_WITHIN = 5.0
"""[s] A network file system may show a new file only after a while."""
CURE = "Set `run` to a folder on a file system that all hosts share and may write to, or start all ranks on one host"


class FolderSecret:
    """The secret of a start in a file of `folder`; see `distributed.seal.Secrets`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self) -> tuple[str, bytes]:
        """Create the folder and the secret in it, on rank 0."""
        prepare_folder(self._folder)
        name, secret = f".start-{secrets.token_hex(8)}", secrets.token_hex(32).encode()
        descriptor = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, secret)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
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
                raise ProblemsError(
                    self._folder, [f"is not the folder of the run that rank 0 has: {path.name} is missing. {CURE}"]
                )
            time.sleep(0.1)
            with suppress(OSError):
                os.listdir(self._folder)  # makes NFS ask its server again
        try:
            check_writable(self._folder)
        except OSError as error:
            raise ProblemsError(self._folder, [f"cannot be written to ({error.strerror}). {CURE}"]) from None
        return secret

    def remove(self, name: str) -> None:
        """Remove the file, on rank 0."""
        with suppress(OSError):
            (self._folder / name).unlink()


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
