"""Messages of the ranks carry a seal, which only a process that knows the secret of this start can make.

The store of the ranks accepts whoever can connect to it. A sealed message that another program has changed, moved to
another key or kept from an earlier start is not opened. The content is not secret.
"""

import hashlib
import hmac
import json
from typing import Protocol, runtime_checkable


@runtime_checkable
class Secrets(Protocol):
    """Where the ranks of one start get their common secret, which nobody else can read."""

    def create(self) -> tuple[str, bytes]:
        """Return, on rank 0, the name and the bytes of a new secret; raise OSError or ValueError with the reason."""
        ...

    def read(self, name: str) -> bytes:
        """Return, on another rank, the secret of rank 0; raise OSError or ValueError with the reason."""
        ...

    def remove(self, name: str, refused: bool) -> None:
        """Remove, on rank 0, the secret: all ranks have read it; and what was made for it, if they are `refused`."""
        ...


class NoSecret:
    """An empty secret, for ranks of which nobody else can know."""

    def create(self) -> tuple[str, bytes]:
        """Return an empty name and secret."""
        return "", b""

    def read(self, name: str) -> bytes:
        """Return an empty secret."""
        return b""

    def remove(self, name: str, refused: bool) -> None:
        """Do nothing."""


class ForgedError(RuntimeError):
    """A message does not carry the seal of this start."""


class Seal:
    """The seal that `secret` makes."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def close(self, key: str, text: str) -> str:
        """Return `text` sealed for the `key` under which it is stored."""
        return json.dumps([self._code(key, text), text])

    def open(self, key: str, message: bytes | str) -> str:
        """Return the text of a sealed message.

        Raises
        ------
        ForgedError
            It was not sealed with this secret, or not for this `key`.
        """
        code, text = unsealed(message)
        if not hmac.compare_digest(code, self._code(key, text)):
            raise ForgedError(f"{key} was not written by a rank of this start")
        return text

    def _code(self, key: str, text: str) -> str:
        return hmac.digest(self._secret, f"{key}\0{text}".encode(), hashlib.sha256).hex()


def unsealed(message: bytes | str) -> tuple[str, str]:
    """Return the code and the text of a message, whoever wrote it; empty if it is none."""
    try:
        code, text = json.loads(message)
    except ValueError:
        return "", ""
    return (code, text) if isinstance(code, str) and isinstance(text, str) else ("", "")
