"""A failure on one rank is raised on all of them, with the same message, so that none waits for one that has stopped.

`failing_together` is for work that every rank does; `on_first_rank` for work that rank 0 does for all.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from dptt.config import ConfigError
from dptt.distributed.comm import Communicator
from dptt.distributed.failures import PeerError
from dptt.io.errors import ProblemsError, WriteError
from dptt.io.write_failures import write_problem

Answer = TypeVar("Answer")

KINDS: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (WriteError, ProblemsError, ConfigError, FileExistsError)
}
"""Errors that rank 0 passes on to all ranks; a subclass before its base."""


@contextmanager
def failing_together(
    communicator: Communicator, path: Path, error: type[ProblemsError] = WriteError
) -> Iterator[None]:
    """Let every rank do its part of the work on the file `path`; all succeed or all fail.

    Raises
    ------
    ProblemsError
        Of type `error`, on every rank, with the problems of all, if the work failed on any rank. It is about the file
        that they are about, if that is one.
    """
    failure: Exception | None = None
    try:
        yield
    except PeerError:
        raise  # the other ranks may be gone
    except Exception as caught:
        failure = caught
    messages = communicator.gather_messages(json.dumps(_problems(failure, path)))
    problems = [(subject, problem) for message in messages for subject, problem in json.loads(message)]
    if failure and not isinstance(failure, (OSError, RuntimeError, ProblemsError)):
        raise failure  # a fault of the program: with its traceback
    if problems:
        subjects = {subject for subject, _ in problems}
        said = [text if len(subjects) == 1 else f"{subject}: {text}" for subject, text in problems]
        raise error(subjects.pop() if len(subjects) == 1 else path, list(dict.fromkeys(said))) from failure


def on_first_rank(communicator: Communicator, work: Callable[[], Answer]) -> Answer:
    """Let rank 0 do `work` while the others wait, and return its result, which JSON can hold, on all ranks.

    What is decided from files is decided this way: two hosts may see different files for a while. Bad input or a
    full disk stops all ranks. A fault of the program leaves rank 0 at once; the watch over the ranks ends those that
    wait.

    Raises
    ------
    ConfigError, ProblemsError, FileExistsError
        The same on every rank, so that it is printed once.
    """
    if communicator.size == 1:
        return work()
    failure: Exception | None = None
    answer: Answer | None = None
    if communicator.rank == 0:
        try:
            with communicator.working("working for all ranks", alone=True):
                answer = work()
        except (ConfigError, ProblemsError, FileExistsError) as error:
            failure = error
    stopped, answer = json.loads(communicator.gather_messages(json.dumps([_as_message(failure), answer]))[0])
    if stopped:
        raise _from_message(**stopped) from failure
    return answer  # type: ignore[return-value]


def _problems(failure: Exception | None, path: Path) -> list[tuple[str, str]]:
    """Return what each problem is about, and the problem.

    A failure to write is about the file at `path`, whichever part of it was being written.
    """
    if failure is None:
        return []
    if isinstance(failure, ProblemsError):
        subject = str(path) if isinstance(failure, WriteError) else failure.subject
        return [(subject, problem) for problem in failure.problems]
    return [(str(path), write_problem(failure))]


def _as_message(failure: Exception | None) -> dict[str, Any]:
    """Return what the other ranks need to raise the same error; empty if there is none."""
    if failure is None:
        return {}
    arguments = [failure.subject, failure.problems] if isinstance(failure, ProblemsError) else [str(failure)]
    return {"kind": next(name for name, kind in KINDS.items() if isinstance(failure, kind)), "arguments": arguments}


def _from_message(kind: str, arguments: list[Any]) -> Exception:
    return KINDS[kind](*arguments)
