"""Launchers as the tests start them: in a session of their own, with a time-out that ends the whole of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONFAULTHANDLER": "1",  # a crash in a library says which call of Python led there
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",  # more ranks than this machine has cores, ...
    "OMPI_MCA_mpi_yield_when_idle": "1",  # ... so a rank that waits must not keep a core busy
}
PATIENCE = 240.0
"""Seconds after which a launcher that does not end is killed and its test fails."""


@dataclass(frozen=True)
class Finished:
    """How a launcher ended, and all that it and its ranks said."""

    code: int
    output: str


class Running:
    """A command that runs in a session of its own."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self._command = command
        self._log = log
        with log.open("w") as said:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=(os.environ if environment is None else environment) | ENVIRONMENT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """Return what was said so far."""
        return self._log.read_text(errors="replace")

    def wait(self, seconds: float = PATIENCE) -> Finished:
        """Return how the command ended; fail the test if it does not within `seconds`."""
        try:
            return Finished(self.process.wait(seconds), self.output)
        except subprocess.TimeoutExpired:
            self.end()
            raise AssertionError(f"{' '.join(self._command)}\ndid not end in {seconds} s:\n{self.output}") from None

    def end(self) -> None:
        """End the launcher and its ranks, if they still run."""
        for number, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            if self.process.poll() is None:
                os.killpg(self.process.pid, number)
                try:
                    self.process.wait(seconds)
                except subprocess.TimeoutExpired:
                    continue


def until(condition: Callable[[], bool], running: Running | None = None, seconds: float = PATIENCE) -> None:
    """Return as soon as `condition` holds; fail if it does not within `seconds`, or if `running` ends before."""
    end = time.monotonic() + seconds
    while not condition():
        assert running is None or running.process.poll() is None, f"ended too soon:\n{running.output}"
        assert time.monotonic() < end, f"waited in vain for {seconds} s" + (f":\n{running.output}" if running else "")
        time.sleep(0.02)


def torchrun(arguments: list[str], ranks: int, nodes: int = 1, node: int = 0, first_host: str = "") -> list[str]:
    """Return the command line of one node's torchrun, with `ranks` ranks on that node."""
    where = (
        ["--standalone"]
        if nodes == 1
        else [f"--nnodes={nodes}", f"--node-rank={node}", f"--master-addr={first_host}", "--master-port=29500"]
    )
    return [sys.executable, "-m", "torch.distributed.run", *where, f"--nproc-per-node={ranks}", *arguments]
