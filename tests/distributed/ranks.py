"""Real processes as the ranks of a group, with the variables of torchrun, in which any function can be run."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ports import free_port

LONGEST = 120.0
"""Seconds after which a group that does not end is killed and its test fails."""


@dataclass(frozen=True)
class Ended:
    """How the ranks of a group ended, by rank, and all that they said."""

    codes: list[int | None]
    said: str
    seconds: float = 0.0
    """From the deed to the message."""


class Group:
    """`size` processes that call `work(rank, *arguments)` and log to one file."""

    def __init__(
        self, size: int, work: Callable[..., None], arguments: tuple[object, ...], log: Path, **variables: str
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        self.log = log
        log.touch()
        group = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())} | variables
        self.processes = [
            context.Process(target=_run, args=(work, rank, arguments, str(log), group)) for rank in range(size)
        ]
        for process in self.processes:
            process.start()

    def wait(self) -> Ended:
        """Return how the group ended; a rank that is stopped is killed when the others have ended."""
        end = time.monotonic() + LONGEST
        for process in self.processes:
            while process.exitcode is None and time.monotonic() < end and not self._is_stopped(process):
                process.join(0.1)
        codes = [process.exitcode for process in self.processes]
        for process in self.processes:
            process.kill()
            process.join()
        return Ended(codes, self.log.read_text())

    def _is_stopped(self, process: multiprocessing.Process) -> bool:
        others = [other.exitcode for other in self.processes if other is not process]
        try:
            status = Path(f"/proc/{process.pid}/stat").read_text()
        except OSError:  # it has ended since
            return False
        return None not in others and status.rsplit(")")[-1].split()[0] == "T"


def _run(
    work: Callable[..., None], rank: int, arguments: tuple[object, ...], log: str, group: dict[str, str]
) -> None:
    os.environ.update(group | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    work(rank, *arguments)
