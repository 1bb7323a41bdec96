"""Compiled code in the user's cache folder, for the next run and the other ranks of this one."""

import hashlib
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_DIGEST_BYTES = 32


def cache_folder() -> Path:
    """Return the folder of this user's caches of dptt, which may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dptt"


def remembered(kind: str, made_of: bytes, make: Callable[[], bytes]) -> bytes:
    """Return the cached result of `make` for the same `made_of`, or call it and cache the result.

    A damaged file is replaced. If the folder cannot be written, nothing is cached.
    """
    path = cache_folder() / kind / hashlib.sha256(made_of).hexdigest()
    with suppress(OSError):
        whole = path.read_bytes()
        digest, content = whole[:_DIGEST_BYTES], whole[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() == digest:
            return content
    content = make()
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(hashlib.sha256(content).digest() + content)
        os.replace(partial, path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
    return content
