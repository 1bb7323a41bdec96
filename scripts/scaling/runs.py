"""Runs of one configuration on several numbers of ranks, in several modes, by any launcher; what is done is kept."""

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
"""Epochs that are not counted: patterns are read for the first time."""


@dataclass(frozen=True)
class Measurement:
    """One run."""

    study: str
    """``strong``: the same work on more ranks; ``weak``: the same patterns a rank."""
    mode: str
    """``scan``, ``slab``, ``scan-slab`` or ``tilt``."""
    ranks: int
    every: int = 1
    """Of so many patterns one is used."""

    @property
    def layout(self) -> Layout:
        """The mesh."""
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
        """Of its folder."""
        return f"{self.study}-{self.mode}-{self.ranks}"


def measurements(studies: list[str], modes: list[str], ranks: list[int]) -> list[Measurement]:
    """Return all combinations; one rank is the same in every mode and runs once."""
    found = []
    for study in studies:
        for count in ranks:
            every = max(ranks) // count if study == "weak" else 1
            for mode in modes if count > 1 else modes[:1]:
                if mode != "scan-slab" or count % 4 == 0:
                    found.append(Measurement(study, mode, count, every))
    return found


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
    raise ValueError(f"--launcher {launcher!r}: expected torchrun, or srun or mpirun with their options")


def measure(one: Measurement, config: Path, overrides: list[str], launcher: str, epochs: int, out: Path) -> None:
    """Run one measurement, unless its result is there."""
    folder = (out / one.name).resolve()
    if (folder / "measured.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    choices = [f"run={folder}", f"reconstruction.epochs={epochs + WARM_UP}", *one.layout.overrides()]
    if one.every > 1:
        choices.append(f"reconstruction.every={one.every}")
    command = launch_command(
        launcher, one.ranks, [str(RANK), str(folder), "reconstruct", str(config), *overrides, *choices, "--restart"]
    )
    print(f"{one.name}: {shlex.join(command)}", flush=True)
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{one.name} failed with {done.returncode}:\n{done.stderr[-4000:]}")
    (folder / "measured.json").write_text(json.dumps(measured(one, folder), indent=1) + "\n")


def measured(one: Measurement, folder: Path) -> dict[str, Any]:
    """Return what a run left: means over its epochs after the first, of all ranks and of the slowest."""
    epochs = read_metrics(folder / "metrics.jsonl")[WARM_UP:]
    peaks = [json.loads(path.read_text()) for path in sorted(folder.glob("peak-*.json"))]
    mean = {
        name: [sum(epoch["ranks"][name][rank] for epoch in epochs) / len(epochs) for rank in range(one.ranks)]
        for name in epochs[0]["ranks"]
    }
    return {
        "study": one.study,
        "mode": one.mode,
        "ranks": one.ranks,
        "every": one.every,
        "layout": str(one.layout),
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
    """Return all measurements of a folder, by study, mode and ranks."""
    found = [json.loads(path.read_text()) for path in out.glob("*/measured.json")]
    return sorted(found, key=lambda one: (one["study"], one["mode"], one["ranks"]))
