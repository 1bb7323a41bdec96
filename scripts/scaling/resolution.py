"""Time to resolution: the same series with 1, 2, 4 ... tilt groups of one rank, and with as many scan ranks.

After every epoch the volume is compared with the truth, and the run then resumes from its checkpoint. The seconds are
those of the epochs alone, without the analysis.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from dptt.logs import read_metrics
from dptt.planning.layout import Layout
from scaling.runs import launch_command

THRESHOLD = "0.5"
"""Criterion of the Fourier shell correlation."""


def measure_resolution(groups: int, options: argparse.Namespace) -> None:
    """Write the curves of `groups` tilt groups and of as many scan ranks, unless they exist."""
    for layout in {Layout(tilt_groups=groups), Layout(scan=groups)}:
        kind = "tilt" if layout.tilt_groups > 1 else "scan"
        folder = (options.out / f"resolution-{kind}-{groups}").resolve()
        if not (folder / "curve.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            curve = [_epoch(epoch, layout, folder, options) for epoch in range(1, options.epochs + 1)]
            result = {"kind": kind, "ranks": groups, "curve": curve}
            (folder / "curve.json").write_text(json.dumps(result, indent=1) + "\n")


def _epoch(epoch: int, layout: Layout, folder: Path, options: argparse.Namespace) -> dict[str, float | None]:
    """Run one more epoch; return the resolution and the seconds since the start."""
    words = [str(options.config), *options.overrides, f"run={folder}", f"reconstruction.epochs={epoch}"]
    program = ["-m", "dptt", "reconstruct", *words, *layout.overrides()]
    _run(launch_command(options.launcher, layout.ranks, program))
    _run([sys.executable, "-m", "dptt", "analyze", *words])
    analysis = json.loads((folder / "analysis.json").read_text())
    lines = read_metrics(folder / "metrics.jsonl")
    point = {
        "epoch": epoch,
        "seconds": sum(line["seconds"]["total"] for line in lines),
        "resolution_A": analysis["resolution"][THRESHOLD]["resolution_A"],
        "along_beam_A": _along_beam(analysis),
        "correlation": analysis["correlation"],
        "loss": lines[-1]["loss"],
    }
    print(f"{folder.name}: {point}", flush=True)
    return point


def _along_beam(analysis: dict) -> float | None:
    return next(entry["resolution_A"] for entry in analysis["directional_fsc"] if entry["name"] == "z")


def _run(command: list[str]) -> None:
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)} failed with exit code {ended.returncode}:\n{ended.stderr[-3000:]}")
