"""Writing a file under a temporary name beside its target; it is renamed only when it is complete.

A reader therefore sees the old file or the new one, never a partial one. The temporary name is unique to the process,
so two writers of one target cannot interfere. The next writer of the same target removes the files of killed
processes that have not changed for `STALE_AFTER` seconds.
"""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dptt.io.write_failures import write_failures_reported

STALE_AFTER = 3600.0
"""[s] A running writer changes its file far more often than once an hour."""


@contextmanager
def write_beside(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it to `path` when the block succeeds.

    Parameters
    ----------
    path
        The file to write.
    overwrite
        Whether an existing file may be replaced.

    Yields
    ------
    Path
        The path to write to, with the suffix of `path`. The block must close the file before it ends.

    Raises
    ------
    FileExistsError
        `path` exists and `overwrite` is false.
    FileNotFoundError
        The folder of `path` does not exist.
    WriteError
        The disk is full, a limit is reached, or the folder is read-only. Nothing is left of the temporary file.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: its folder does not exist. Create {path.parent} first.")
    refuse_existing(path, overwrite)
    remove_stale_partials(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial{path.suffix}")
    with write_failures_reported(path):
        try:
            yield partial
            flush_to_disk(partial)
            refuse_existing(path, overwrite)
            os.replace(partial, path)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise
        flush_to_disk(path.parent)


def replace_text(path: Path, content: str) -> None:
    """Write `content` as UTF-8 to the file `path`, completely or not at all; an existing file is replaced.

    Raises
    ------
    WriteError
        The disk is full, a limit is reached, or the folder is read-only.
    """
    replace_bytes(path, content.encode("utf-8"))


def replace_bytes(path: Path, content: bytes) -> None:
    """Do the same for any `content`."""
    with write_beside(path, overwrite=True) as partial:
        partial.write_bytes(content)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise FileExistsError if `path` exists and may not be replaced."""
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} already exists. Choose another name, or pass overwrite=True.")


def flush_to_disk(path: Path) -> None:
    """Wait until the file or folder `path` is on the disk and would survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # some network file systems cannot flush a folder; the rename is still atomic
            raise
    finally:
        os.close(descriptor)


def remove_stale_partials(path: Path) -> None:
    """Remove temporary files of `path` that a killed process left behind."""
    prefix = f".{path.name}."
    for candidate in path.parent.iterdir():
        if candidate.name.startswith(prefix) and candidate.name.endswith(f".partial{path.suffix}"):
            with suppress(FileNotFoundError):
                if time.time() - candidate.stat().st_mtime > STALE_AFTER:
                    candidate.unlink()
