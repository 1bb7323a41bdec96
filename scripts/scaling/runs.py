"""Runs of one configuration with several numbers of ranks, modes and any launcher; finished runs are kept."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from dptt.logs import read_metrics
from dptt.planning.layout import Layout

RANK = Path(__file__).with_name("measured_rank.py")
WARM_UP = 1
"""Epochs that are not measured, because patterns are read for the first time."""


@dataclass(frozen=True)
class Measurement:
    """One run."""

    study: str
    """``strong``: the same work on more ranks; ``weak``: the same number of patterns per rank."""
    mode: str
    """``scan``, ``slab``, ``scan-slab`` or ``tilt``."""
    ranks: int
    every: int = 1
    """Only every n-th pattern is used."""

    @property
    def layout(self) -> Layout:
        """Layout of the ranks."""
        match self.mode:
            case "slab":
                return Layout(slabs=self.ranks)
            case "tilt":
                return Layout(tilt_groups=self.ranks)
            case "scan-slab" if self.ranks % 2 == 0:
                return Layout(scan=self.ranks // 2, slabs=2)
            case _:
                return Layout(scan=self.ranks)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return f"{self.study}-{self.mode}-{self.ranks}"


def measurements(studies: list[str], modes: list[str], ranks: list[int]) -> list[Measurement]:
    """Return all combinations; a single rank runs only once, as it is the same in every mode."""
    combinations = []
    for study in studies:
        for count in ranks:
            every = max(ranks) // count if study == "weak" else 1
            for mode in modes if count > 1 else modes[:1]:
                if mode != "scan-slab" or count % 4 == 0:
                    combinations.append(Measurement(study, mode, count, every))
    return combinations


def launch_command(launcher: str, ranks: int, program: list[str]) -> list[str]:
    """Return the command line that starts `program`, a Python file and its arguments, on `ranks` ranks."""
    python = [sys.executable, *program]
    match shlex.split(launcher):
        case ["torchrun", *more] if ranks > 1:
            return [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}", *more, *program]
        case ["torchrun", *_]:
            return python
        case [start, *more]:
            return [start, *more, "-n", str(ranks), *python]
    raise ValueError(f"--launcher {launcher!r}: expected torchrun, srun or mpirun, with options if needed")


def measure(run: Measurement, config: Path, overrides: list[str], *, launcher: str, epochs: int, out: Path) -> None:
    """Run one measurement, unless its result exists."""
    folder = (out / run.name).resolve()
    if (folder / "measured.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    settings = [f"run={folder}", f"reconstruction.epochs={epochs + WARM_UP}", *run.layout.overrides()]
    if run.every > 1:
        settings.append(f"reconstruction.every={run.every}")
    command = launch_command(
        launcher, run.ranks, [str(RANK), str(folder), "reconstruct", str(config), *overrides, *settings, "--restart"]
    )
    print(f"{run.name}: {shlex.join(command)}", flush=True)
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    ended = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
    if ended.returncode:
        raise SystemExit(f"{run.name} failed with exit code {ended.returncode}:\n{ended.stderr[-4000:]}")
    (folder / "measured.json").write_text(json.dumps(measured(run, folder), indent=1) + "\n")


def measured(run: Measurement, folder: Path) -> dict[str, Any]:
    """Return the measurements of a finished run: times, traffic and memory of its epochs after the first."""
    epochs = read_metrics(folder / "metrics.jsonl")[WARM_UP:]
    peaks = [json.loads(path.read_text()) for path in sorted(folder.glob("peak-*.json"))]
    mean = {
        name: [sum(epoch["ranks"][name][rank] for epoch in epochs) / len(epochs) for rank in range(run.ranks)]
        for name in epochs[0]["ranks"]
    }
    return {
        "study": run.study,
        "mode": run.mode,
        "ranks": run.ranks,
        "every": run.every,
        "layout": str(run.layout),
        "epoch_seconds": min(epoch["seconds"]["total"] for epoch in epochs),
        "epoch_seconds_all": [epoch["seconds"]["total"] for epoch in epochs],
        "seconds_of_ranks": mean,
        "bytes_per_update": sum(e["bytes_sent"] for e in epochs) / sum(e["updates"] for e in epochs),
        "peak_bytes": [peak["peak_bytes"] for peak in peaks],
        "imported_bytes": [peak["imported_bytes"] for peak in peaks],
        "cpu_seconds": min((b - a for a, b in pairwise(peaks[0]["cpu_seconds"])), default=None),
        "loss": epochs[-1]["loss"],
    }


def results(out: Path) -> list[dict[str, Any]]:
    """Return all measurements of a folder, sorted by study, mode and ranks."""
    runs = [json.loads(path.read_text()) for path in out.glob("*/measured.json")]
    return sorted(runs, key=lambda run: (run["study"], run["mode"], run["ranks"]))
