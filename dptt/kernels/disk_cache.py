"""Compiled code in the user's cache folder, for the next run and the other ranks of this one.

It is run as it is read, so a folder that other users can write to is refused: they could put code of theirs there.
"""

import grp
import hashlib
import os
import pwd
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_DIGEST_BYTES = 32


class UnsafeCacheError(RuntimeError):
    """Other users can put code into the folder of compiled kernels."""


def cache_folder() -> Path:
    """Return the folder of this user's caches of dptt, which may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dptt"


def own_folder(folder: Path) -> Path:
    """Create `folder` for this user alone, if that is possible, and return it.

    Raises
    ------
    UnsafeCacheError
        Other users can write to it, or replace it.
    """
    with suppress(OSError):
        for place in (*reversed(folder.parents), folder):
            place.mkdir(mode=0o700, exist_ok=True)
    check_safe(folder)
    return folder


def check_safe(folder: Path) -> None:
    """Raise UnsafeCacheError if other users can write to `folder`, which may not exist yet, or replace it."""
    folder = folder.absolute()
    for place in (folder, *folder.parents):
        if reason := _unsafe(place, is_parent=place != folder):
            raise UnsafeCacheError(
                f"the folder of compiled kernels, {folder}, is not safe: {reason}, who could have their code run in "
                f"your name. Run `chmod go-w {place}`, or set XDG_CACHE_HOME (or TRITON_CACHE_DIR or NUMBA_CACHE_DIR "
                "if you have set these) to a folder of your own"
            )


def remembered(kind: str, made_of: bytes, make: Callable[[], bytes]) -> bytes:
    """Return the cached result of `make` for the same `made_of`, or call it and cache the result.

    A damaged file is replaced. If the folder cannot be written, nothing is cached.

    Raises
    ------
    UnsafeCacheError
        Other users can write to the folder.
    """
    path = own_folder(cache_folder() / kind) / hashlib.sha256(made_of).hexdigest()
    with suppress(OSError):
        whole = path.read_bytes()
        digest, content = whole[:_DIGEST_BYTES], whole[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() == digest:
            return content
    content = make()
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.write_bytes(hashlib.sha256(content).digest() + content)
        os.replace(partial, path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
    return content


def _unsafe(place: Path, is_parent: bool) -> str:
    """Return who else can write to `place`; in a sticky parent nobody can replace what is not theirs."""
    try:
        status = place.stat()
    except OSError:
        return ""  # it does not exist, or cannot be read
    if status.st_uid not in (os.getuid(), 0):
        return f"{place} belongs to {_user(status.st_uid)}"
    if is_parent and status.st_mode & stat.S_ISVTX:
        return ""
    if status.st_mode & stat.S_IWOTH:
        return f"{place} can be written to by all users"
    if status.st_mode & stat.S_IWGRP and not is_parent and not _is_private(status.st_gid):
        return f"{place} can be written to by the group {status.st_gid}"
    return ""


def _is_private(group: int) -> bool:
    """Return whether `group` is the private group of this user, which has the name of the user."""
    with suppress(KeyError):
        return grp.getgrgid(group).gr_name == pwd.getpwuid(os.getuid()).pw_name
    return False


def _user(number: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return f"the user {number}"
