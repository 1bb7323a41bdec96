"""Progress of a run: log lines, a progress bar in a terminal, and metrics.jsonl."""

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

log = logging.getLogger("dptt")


def set_up_logging(rank: int) -> None:
    """Log to standard error: everything on rank 0, and only warnings, with their rank, on the others."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s" if rank == 0 else f"[rank {rank}] %(message)s"))
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO if rank == 0 else logging.WARNING)
    log.propagate = False


@contextmanager
def log_file(path: Path, command: str) -> Iterator[None]:
    """Append what is logged during the block to a file, each line with its time; also the error that ends it.

    The file is created by the first line: a command that is refused at once leaves none. A file that cannot be
    written, on a full disk for instance, is given up after one warning: it stops no run.
    """
    handler = _LogFile(path, f"== dptt {command}")
    log.addHandler(handler)
    try:
        yield
    except BaseException as error:
        if handler.begun:
            handler.note(f"ended by {type(error).__name__}: {error}")
        raise
    finally:
        log.removeHandler(handler)
        with suppress(OSError):
            handler.close()


class _LogFile(logging.FileHandler):
    """A log file with a heading, which is given up when it cannot be written."""

    def __init__(self, path: Path, heading: str) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S"))
        self._heading = heading
        self.begun = False

    def note(self, message: str) -> None:
        """Write a line to this file alone."""
        self.handle(log.makeRecord(log.name, logging.INFO, "", 0, message, (), None))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, after the heading if it is the first."""
        if not self.begun:
            self.begun = True
            self.note(self._heading)
        try:
            super().emit(record)
        except OSError:  # the file cannot be created
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Stop writing, and say so on the other handlers, once."""
        if self in log.handlers:
            log.removeHandler(self)
            log.warning(f"warning: {Path(self.baseFilename).name} is no longer written: {sys.exc_info()[1]}")


SILENCE = 60.0
"""[s] After which a log without a bar gets a line on how far the work is."""


class Progress:
    """A bar in a terminal, and elsewhere a line after a minute without one; `log` lines are printed above the bar."""

    def __init__(self, bar: "tqdm[Any]", title: str, unit: str, *, lines: bool = False) -> None:
        self._bar, self._title, self._unit, self._lines = bar, title, unit, lines
        self._spoke = time.monotonic()
        self._begun: tuple[float, int] | None = None

    def update(self, done: int, total: int) -> None:
        """Show that `done` of `total` are complete."""
        self._bar.total = total
        self._bar.n = done
        self._bar.refresh()
        now = time.monotonic()
        self._begun = self._begun or (now, done)
        began, before = self._begun
        if self._lines and done > before and now - self._spoke > SILENCE:
            left = (total - done) * (now - began) / (done - before)
            self.say(f"{self._title}: {done} of {total} {self._unit}s, about {duration(left)} to go")

    def say(self, message: str) -> None:
        """Log a line without breaking the bar."""
        self._spoke = time.monotonic()
        with tqdm.external_write_mode():
            log.info(message)


def duration(seconds: float) -> str:
    """Return a time in words: seconds below a minute, minutes below an hour."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def progress_bar(title: str, unit: str, rank: int = 0) -> Iterator[Progress]:
    """Show on rank 0 how far the work is, which is counted in `unit`.

    By a bar if standard error is a terminal or the output of a notebook's cell, otherwise by lines of the log.
    """
    shown = sys.stderr.isatty() or in_notebook()
    with tqdm(total=1, desc=title, unit=unit, disable=rank != 0 or not shown, leave=False) as bar:
        yield Progress(bar, title, unit, lines=rank == 0 and not shown)


def in_notebook() -> bool:
    """Return whether this process is the kernel of a Jupyter notebook."""
    interactive = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return "IPKernelApp" in getattr(interactive, "config", ())


class MetricsFile:
    """One JSON line per epoch; lines of epochs that a resumed run repeats are dropped first."""

    def __init__(self, path: Path, completed_epochs: int) -> None:
        self._path = path
        kept = [line for line in read_metrics(path) if line["epoch"] <= completed_epochs]
        partial = path.with_name(path.name + ".partial")  # so that a kill at this moment loses no line
        partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        partial.replace(path)

    def append(self, record: dict[str, Any]) -> None:
        """Append the line of one epoch."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the records of a metrics file; none if there is no file.

    A last line that a kill cut short is left out, and any other damaged line with a warning.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    records = [_record(line) for line in lines]
    if damaged := [str(number) for number, record in enumerate(records[:-1], 1) if record is None]:
        log.warning(f"warning: {path}: damaged lines are left out: {', '.join(damaged)}")
    return [record for record in records if record is not None]


def _record(line: str) -> dict[str, Any] | None:
    """Return the record of one epoch, None if it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    known = isinstance(record, dict) and isinstance(record.get("epoch"), int)
    return record if known and isinstance(record.get("seconds", {}), dict) else None
