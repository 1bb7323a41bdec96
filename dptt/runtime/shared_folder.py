"""The folder of a run is one folder: every rank must see in it what rank 0 writes.

A folder on the disk of each host has the same path everywhere. Ranks that resume from it would not agree on what is
done, and their results would be in several places.
"""

import json
import os
import secrets
import socket
import time
from contextlib import suppress
from pathlib import Path

from dptt.distributed.comm import Communicator
from dptt.distributed.launch import LaunchError
from dptt.runtime.agreement import on_first_rank
from dptt.runtime.folders import check_writable, prepare_folder

APPEARS_WITHIN = 5.0
"""[s] A network file system may show a new file only after a while."""
MAX_SHOWN = 8


def prepare_shared_folder(folder: Path, communicator: Communicator) -> None:
    """Create `folder` on rank 0, and check that all ranks see the same one and can write to it.

    Raises
    ------
    LaunchError
        On every rank: the ranks and hosts that do not see the folder of rank 0, or cannot write to it.
    ProblemsError
        On every rank: rank 0 cannot write to it.
    """
    on_first_rank(communicator, lambda: prepare_folder(folder))
    if communicator.size == 1:
        return
    token = folder / f".seen-by-all-{secrets.token_hex(8)}"
    try:
        token = folder / str(on_first_rank(communicator, lambda: _write(token)))
        own = [socket.gethostname(), "" if communicator.rank == 0 else _problem(token)]
        answers = [json.loads(message) for message in communicator.gather_messages(json.dumps(own))]
    finally:
        if communicator.rank == 0:
            with suppress(OSError):
                token.unlink()
    _refuse(folder, answers)


def _refuse(folder: Path, answers: list[list[str]]) -> None:
    """Raise LaunchError if any of `answers`, by rank, names a problem with `folder`."""
    first_host = answers[0][0]
    problems = [f"rank {rank} (host {host}) {problem}" for rank, (host, problem) in enumerate(answers) if problem]
    if problems:
        more = f"; and {len(problems) - MAX_SHOWN} more" if len(problems) > MAX_SHOWN else ""
        raise LaunchError(
            f"the ranks do not share the folder of the run, {folder}, in which rank 0 (host {first_host}) has just "
            f"written a file: {'; '.join(problems[:MAX_SHOWN])}{more}. Set `run` to a folder on a file system that "
            "all hosts share and may write to, or start all ranks on one host"
        )


def _write(token: Path) -> str:
    """Write a file and return its name."""
    token.touch()
    return token.name


def _problem(token: Path) -> str:
    """Return why this rank does not share the folder of the file `token`; empty if it does."""
    end = time.monotonic() + APPEARS_WITHIN
    while not token.exists():
        if time.monotonic() > end:
            return "does not see it"
        time.sleep(0.1)
        with suppress(OSError):
            os.listdir(token.parent)  # makes NFS ask its server again
    try:
        check_writable(token.parent)
    except OSError as error:
        return f"cannot write there ({error.strerror})"
    return ""
