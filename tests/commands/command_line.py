"""The command line as the tests use it: in this process, in one killable process, or on several ranks.

Processes are forked from a server that has torch and dptt imported already (tests/conftest.py), so that a rank
starts in a tenth of a second. They get the variables that torchrun would set; `test_ranks` runs torchrun itself once.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from ports import free_port

from dptt.cli import main
from dptt.io.checkpoint import load_checkpoint
from dptt.logs import read_metrics

PATIENCE = 240.0
"""Seconds after which a command that does not end is killed and its test fails."""


@dataclass(frozen=True)
class Finished:
    """How one process ended."""

    code: int
    stderr: str


class RunningCommand:
    """`dptt ARGUMENTS` in a process of its own, as one rank of a group if `variables` say so."""

    def __init__(
        self,
        arguments: list[str],
        log: Path,
        variables: dict[str, str] | None = None,
        before: Callable[..., None] | None = None,
        before_arguments: tuple[object, ...] = (),
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        self._log = log
        self.process = context.Process(
            target=_run, args=(list(map(str, arguments)), str(log), variables or {}, before, before_arguments)
        )
        self.process.start()

    def kill(self) -> None:
        """End the process with SIGKILL: nothing of it runs any more."""
        self.process.kill()
        self.process.join()

    def wait(self) -> Finished:
        """Return how the process ended."""
        self.process.join(PATIENCE)
        if self.process.exitcode is None:
            self.kill()
        assert self.process.exitcode is not None
        return Finished(self.process.exitcode, self._log.read_text() if self._log.exists() else "")


def _run(
    arguments: list[str],
    log: str,
    variables: dict[str, str],
    before: Callable[..., None] | None,
    before_arguments: tuple[object, ...],
) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ.update(variables)
    with open(log, "w") as file:
        os.dup2(file.fileno(), 2)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    if before is not None:
        before(*before_arguments)
    sys.exit(main(arguments))


def start_ranks(
    size: int,
    arguments: list[str],
    folder: Path,
    before: Callable[..., None] | None = None,
    before_arguments: tuple[object, ...] = (),
) -> list[RunningCommand]:
    """Start `dptt ARGUMENTS` on `size` ranks, each after calling `before`; `folder` takes what they say."""
    folder.mkdir(parents=True, exist_ok=True)
    group = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [
        RunningCommand(
            arguments,
            folder / f"rank{rank}",
            group | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            before,
            before_arguments,
        )
        for rank in range(size)
    ]


def run_ranks(
    size: int,
    arguments: list[str],
    folder: Path,
    before: Callable[..., None] | None = None,
    before_arguments: tuple[object, ...] = (),
) -> list[Finished]:
    """Run `dptt ARGUMENTS` on `size` ranks and return how each ended, by rank."""
    return [command.wait() for command in start_ranks(size, arguments, folder, before, before_arguments)]


BLANK: dict[str, Callable[..., object]] = {"to_png": lambda draw: b"", "to_svg": lambda draw, name: "<svg ></svg>"}
"""What stands for functions that draw."""


def without_pictures() -> None:
    """Leave the pictures of all steps undrawn: they take longer than all else in a run of this size."""
    import dptt.report.drawing as drawing

    drawn = {name: getattr(drawing, name) for name in BLANK}
    for module in [module for name, module in sys.modules.items() if name.startswith("dptt.")]:
        for name in [name for name in BLANK if getattr(module, name, None) is drawn[name]]:
            setattr(module, name, BLANK[name])


def small_pictures() -> None:
    """Draw every picture of the report, with few pixels: in half of the time."""
    import dptt.report.drawing as drawing
    import dptt.report.figures.volume as volume

    drawing.DPI = 30
    volume.render = partial(volume.render, pixels=30)


def wait_until(condition: Callable[[], bool], command: RunningCommand, seconds: float = 60.0) -> None:
    """Return as soon as `condition` holds, looking every millisecond; the command must still be running."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        assert command.process.is_alive(), "the command ended before it could be killed"
        time.sleep(0.001)


def checkpoint(run: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a run's checkpoint, in full precision."""
    return load_checkpoint(run / "checkpoint.h5")[0]


def epochs_of(run: Path) -> list[int]:
    """Return the epochs of which metrics.jsonl has a line, in order."""
    return [line["epoch"] for line in read_metrics(run / "metrics.jsonl")]


def series_content(path: Path) -> dict[str, dict[str, object]]:
    """Return every attribute and array of a series, and how arrays are stored, but for when and where it was made."""
    told: dict[str, dict[str, object]] = {}

    def collect(name, item):
        told[name] = {
            key: np.asarray(value).tolist() for key, value in item.attrs.items() if key not in ("created", "config")
        }
        if isinstance(item, h5py.Dataset):
            told[name] |= {
                "": (item[()].tobytes(), item.dtype, item.shape, item.chunks, item.fletcher32, item.compression)
            }

    with h5py.File(path) as file:
        collect("", file)
        file.visititems(collect)
    return told


def relative_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Return max |a - b| / max |b|."""
    assert a.shape == b.shape and a.dtype == b.dtype
    return float(np.abs(a - b).max() / np.abs(b).max())


def edit_series(source: Path, target: Path, change: Callable[[h5py.File], None]) -> Path:
    """Copy a series file to `target`, apply `change` to the copy, and return its path."""
    target.write_bytes(source.read_bytes())
    with h5py.File(target, "r+") as file:
        change(file)
    return target


def replace_patterns(file: h5py.File, tilt: str, change: Callable[[np.ndarray], None]) -> None:
    """Let `change` work on the patterns (positions, ky, kx) of a tilt as float32, and store the result."""
    data = file[f"tilts/{tilt}/data"][()].astype(np.float32)
    flat = data.reshape(-1, *data.shape[-2:])
    change(flat)
    del file[f"tilts/{tilt}/data"]
    file[f"tilts/{tilt}/data"] = flat.reshape(data.shape)


def assert_refused(ended: Finished, *words: str) -> None:
    """Check that the command ended as it should for bad input, and named `words`."""
    assert ended.code == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.count("error: ") == 1
    assert "epoch 0" not in ended.stderr
    for word in words:
        assert word in ended.stderr


def files_in(folder: Path) -> list[str]:
    """Return the files in a folder, without the log that every command leaves in its run folder."""
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != "run.log"
    )
