#!/usr/bin/env python
"""Compare the speed of dptt and of other multislice ptychography programs, on the same patterns, in one run.

Every program runs in an environment of its own (`--install` makes them), driven through its own interface with its
defaults and the batch that is fastest for it. First each proves that it has the same model: started from the true
slices its loss is nothing beside that of vacuum. Then all take turns, a pass over the patterns each; what counts are
ratios of medians to the bare Fourier transforms that a pass cannot do without. Then each reconstructs counted
patterns from vacuum: how well after how many seconds.

    python scripts/compare_peers.py --install          # once; several GiB
    python scripts/compare_peers.py --output runs/peers

Writes DIR/peers.json and DIR/peers.md. Nothing of other programs is contained here.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark.measure import busy_share
from compare_peers.problem import Problem, Size, simulate

PROGRAMS = {"ptyrad": "ptyrad==1.0.0", "phaser": "phaserEM[jax]==0.3.1", "ptychi": "ptychi==2.2.0"}
"""Environments, and what is installed in them."""
CONTESTANTS = {
    "dptt": ("dptt", {}),
    "PtyRAD": ("ptyrad", {}),
    "PtyRAD, compiled": ("ptyrad", {"COMPARE_COMPILE": "1"}),
    "phaser (JAX)": ("phaser", {}),
    "pty-chi (LSQML)": ("ptychi", {}),
}
SIZES = (Size(32, 64, 3, 8), Size(16, 128, 3, 8), Size(32, 64, 1, 1))
BATCHES = (16, 32, 64, 128)
SAME_MODEL = 2e-3
"""Loss at the truth over that of vacuum, at most."""


class Program:
    """A contestant's process."""

    def __init__(self, name: str, environments: Path, threads: int) -> None:
        self.name = name
        program, changes = CONTESTANTS[name]
        python = Path(sys.executable) if program == "dptt" else environments / program / "bin" / "python"
        here = Path(__file__).parent
        path = os.pathsep.join([str(here), *([str(here.parent)] if program == "dptt" else [])])
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads))
        limits["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
        self._process = subprocess.Popen(
            [python, here / "compare_peers" / f"run_{program}.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | limits | changes | {"PYTHONPATH": path, "GOMP_SPINCOUNT": "10000"},
        )

    def ask(self, **what: Any) -> dict[str, Any]:
        """Send a request and return the answer."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.name} ended without an answer to {what}")
        return dict(json.loads(answer))

    def start(self, problem: Path, batch: int, *, truth: bool = False, still: bool = False) -> str:
        """Begin from the truth or from vacuum; return the version."""
        begin = "truth" if truth else "vacuum"
        return str(self.ask(start=str(problem), batch=batch, still=still, **{"from": begin})["version"])

    def run_pass(self) -> tuple[float, float]:
        """Return the seconds and the loss of a pass."""
        answer = self.ask(**{"pass": True})
        return answer["seconds"], answer["loss"]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


@dataclass
class Result:
    """What was measured of a contestant at one size."""

    version: str
    misfit_of_truth: float
    """Loss at the truth over the loss of vacuum."""
    batch: int
    seconds: list[float]
    """Of passes, the first not counted."""
    peak_bytes: int


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true", help="make the environments, and end")
    parser.add_argument("--environments", type=Path, default=Path(".peers"), metavar="DIR")
    parser.add_argument("--only", nargs="+", default=list(CONTESTANTS), choices=list(CONTESTANTS), metavar="NAME")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(range(len(SIZES))), help="which; default: all")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--passes", type=int, default=12, help="of the reconstruction; default: %(default)s")
    parser.add_argument("--output", type=Path, default=Path("runs/peers"), metavar="DIR")
    options = parser.parse_args()
    if options.install:
        install(options.environments)
        return
    torch.set_num_threads(options.threads)
    others = busy_share()
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        for size in (SIZES[i] for i in options.sizes):
            exact, counted = Path(folder) / "exact.npz", Path(folder) / "counted.npz"
            simulate(size, counted=False).save(exact)
            simulate(size, counted=True).save(counted)
            tables.append(compare(size, exact, counted, options))
            store(options.output, tables, threads=options.threads, busy_share_of_others=others)


def store(folder: Path, tables: list[dict[str, Any]], **about: Any) -> None:
    """Write and print what is known so far."""
    folder.mkdir(parents=True, exist_ok=True)
    about["date"] = f"{datetime.now(UTC):%Y-%m-%d}"
    (folder / "peers.json").write_text(json.dumps({**about, "sizes": tables}, indent=1))
    text = "\n\n".join(as_markdown(table) for table in tables)
    (folder / "peers.md").write_text(text + "\n")
    print(text)


def install(environments: Path) -> None:
    """Make an environment for every program, with the PyTorch that dptt is tested with."""
    for name, package in PROGRAMS.items():
        folder = environments / name
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        constraints = Path(__file__).parent.parent / "constraints.txt"
        subprocess.run([folder / "bin" / "pip", "install", "-c", constraints, package], check=True)


def compare(size: Size, exact: Path, counted: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return all figures of one size."""
    print(size.name, flush=True)
    programs = {name: Program(name, options.environments, options.threads) for name in options.only}
    results = {name: prepare(program, exact) for name, program in programs.items()}
    bare = []
    for _ in range(options.repeats):
        bare.append(bare_transforms(size))
        for name, program in programs.items():
            results[name].seconds.append(program.run_pass()[0])
    problem = Problem.load(str(counted))
    curves = {}
    for name, program in programs.items():
        results[name].peak_bytes = program.ask(memory=True)["bytes"]
        curves[name] = reconstruct(program, counted, problem, results[name].batch, options.passes)
        program.close()
    return {
        "size": size.name,
        "bare_transforms": bare,
        "results": {name: vars(result) for name, result in results.items()},
        "curves": curves,
    }


def prepare(program: Program, exact: Path) -> Result:
    """Prove that the model is the same, choose the batch, and leave the program after its first pass."""
    version = program.start(exact, BATCHES[1], truth=True, still=True)
    truth = program.run_pass()[1]
    program.start(exact, BATCHES[1], still=True)
    ratio = truth / program.run_pass()[1]
    if abs(ratio) > SAME_MODEL:
        raise RuntimeError(f"{program.name}: the loss at the truth is {ratio:.2g} of that of vacuum: another model")
    times = {}
    for batch in BATCHES if program.name != "dptt" else BATCHES[:1]:
        program.start(exact, batch)
        program.run_pass()
        times[batch] = min(program.run_pass()[0] for _ in range(2))
    batch = min(times, key=lambda b: times[b])
    print(f"  {program.name}: truth {ratio:.1e} of vacuum, batch {batch}, {times[batch]:.2f} s a pass", flush=True)
    program.start(exact, batch)
    program.run_pass()
    return Result(version, ratio, batch, [], 0)


def reconstruct(program: Program, counted: Path, problem: Problem, batch: int, passes: int) -> list[list[float]]:
    """Return seconds since the start and quality after each pass from vacuum; what was compiled before is kept."""
    program.start(counted, batch)
    seconds, curve = 0.0, []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(passes):
            seconds += program.run_pass()[0]
            program.ask(slices=f"{folder}/slices.npy")
            curve.append([seconds, problem.quality(np.load(f"{folder}/slices.npy"))])
    return curve


def bare_transforms(size: Size) -> float:
    """Return the seconds of the transforms of a pass, on arrays of the best of a few lengths."""
    best = float("inf")
    for length in (4, 8, 16, 32, 64):
        waves = torch.randn(length, size.window, size.window, dtype=torch.complex64)
        rounds = -(-size.transforms // (2 * length))
        torch.fft.ifft2(torch.fft.fft2(waves))
        began = time.perf_counter()
        for _ in range(rounds):
            torch.fft.fft2(waves)
            torch.fft.ifft2(waves)
        best = min(best, time.perf_counter() - began)
    return best


def as_markdown(table: dict[str, Any]) -> str:
    """Return a table with the time of a pass, its ratio to the bare transforms, and the time to a common quality."""
    bare = statistics.median(table["bare_transforms"])
    best = {name: max(q for _, q in curve if not math.isnan(q)) for name, curve in table["curves"].items()}
    goal = 0.95 * max(best.values())
    lines = [
        f"**{table['size']}**; bare transforms {bare:.3f} s; goal {goal:.3f}",
        "",
        "| | version | batch | a pass | × bare | × dptt | peak memory | best quality | seconds to the goal |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    own = statistics.median(table["results"]["dptt"]["seconds"]) if "dptt" in table["results"] else None
    for name, result in table["results"].items():
        median = statistics.median(result["seconds"])
        curve = table["curves"][name]
        reached = next((f"{seconds:.1f}" for seconds, quality in curve if quality >= goal), "not reached")
        lines.append(
            f"| {name} | {result['version']} | {result['batch'] if name != 'dptt' else 'own'} | {median:.2f} s "
            f"| {median / bare:.1f} | {median / own if own else math.nan:.1f} | {result['peak_bytes'] / 1e6:.0f} MB "
            f"| {best[name]:.3f} | {reached} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
