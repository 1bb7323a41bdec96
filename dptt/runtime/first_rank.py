"""Work that one rank does for all."""

import json
from collections.abc import Callable
from typing import Any

from dptt.config import ConfigError
from dptt.distributed.comm import Communicator
from dptt.io.errors import ProblemsError, WriteError

KINDS: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (WriteError, ProblemsError, ConfigError, FileExistsError)
}
"""Errors that all ranks raise alike; a special one before the general one."""


def first_rank_alone(communicator: Communicator, work: Callable[[], object]) -> None:
    """Let rank 0 do `work` while the others wait; what is wrong with the input or the disk stops all of them.

    A fault of the program leaves rank 0 at once; the watch over the ranks ends those that wait.

    Raises
    ------
    ConfigError, ProblemsError, FileExistsError
        The same on every rank, so that it is said once.
    """
    if communicator.size == 1:
        work()
        return
    failure: Exception | None = None
    if communicator.rank == 0:
        try:
            with communicator.working("working for all ranks", alone=True):
                work()
        except (ConfigError, ProblemsError, FileExistsError) as error:
            failure = error
    told = json.loads(communicator.gather_messages(json.dumps(_told(failure)))[0])
    if told:
        raise _error(**told) from failure


def _told(failure: Exception | None) -> dict[str, Any]:
    """Return what the other ranks need to raise the same."""
    if failure is None:
        return {}
    arguments = [failure.subject, failure.problems] if isinstance(failure, ProblemsError) else [str(failure)]
    return {"kind": next(name for name, kind in KINDS.items() if isinstance(failure, kind)), "arguments": arguments}


def _error(kind: str, arguments: list[Any]) -> Exception:
    return KINDS[kind](*arguments)
