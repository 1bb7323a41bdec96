"""The quickstart in every way that a GPU has, beside the CPU's volume of the same series; memory beside the plan.

A way fails if its volume is further from the CPU's than rounding explains, or if it takes more memory than planned.
"""

import argparse
import json
import logging
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from benchmark.contestants import without_fused_kernel

from dptt.cli import main as dptt
from dptt.io.volumes import read_volume
from dptt.logs import log, read_metrics

CONFIG = Path(__file__).parents[2] / "jobs" / "configs" / "00_minimal.yaml"
STREAMED = "distribution.memory=120"
"""MiB: too little for all patterns beside waves worth computing (`planning.gpu`): they travel in every epoch."""


@dataclass(frozen=True)
class Way:
    """One way to reconstruct the series."""

    name: str
    overrides: tuple[str, ...] = ()
    allowed: float = 1e-3
    """Largest difference from the CPU's volume, as a part of its norm."""
    fused: bool = True
    deterministic: bool = False


REFERENCE = Way("cpu", ("distribution.device=cpu",), 0.0)
GPU_WAYS = (
    Way("fused"),
    Way("fused, deterministic", deterministic=True),
    Way("patterns streamed", (STREAMED,)),
    Way("portable", fused=False),
    Way("fast", ("reconstruction.precision=fast",), 1e-2),
)
REHEARSED_WAYS = (Way("again", REFERENCE.overrides, 0.0),)
SMALL = ("reconstruction.epochs=1", "simulation.tilts.step=40")


def main() -> int:
    """Return 0 if every way gave the CPU's volume within the memory that was planned."""
    parser = argparse.ArgumentParser(prog="gpu_acceptance.quickstart", description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    changes = (f"series={options.output / 'series.h5'}", *(SMALL if options.rehearse else ()))
    dptt(["simulate", str(CONFIG), *changes, f"run={options.output / 'simulation'}"])
    records: list[dict] = []
    reference = None
    for way in (REFERENCE, *(REHEARSED_WAYS if options.rehearse else GPU_WAYS)):
        record, volume = _reconstructed(way, options.output / way.name.replace(", ", "-").replace(" ", "-"), changes)
        if reference is None:
            reference = volume
        else:
            record["difference"] = float(np.linalg.norm(volume - reference) / np.linalg.norm(reference))
        records.append(record)
        (options.output / "quickstart.json").write_text(json.dumps(records, indent=1))
    failures = [failure for record in records for failure in _failures(record)]
    print(*failures, sep="\n")
    return 1 if failures else 0


def _reconstructed(way: Way, run: Path, changes: Sequence[str]) -> tuple[dict, np.ndarray]:
    """Return what one way took, and its volume."""
    on_gpu = torch.cuda.is_available() and way is not REFERENCE
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    arguments = ["reconstruct", str(CONFIG), *changes, f"run={run}", *way.overrides]
    torch.use_deterministic_algorithms(way.deterministic)
    begin = time.perf_counter()
    with _logged() as lines:
        call = partial(dptt, arguments)
        code = (call if way.fused else without_fused_kernel(call))()
    seconds = time.perf_counter() - begin
    torch.use_deterministic_algorithms(False)
    if code:
        raise SystemExit(f"{way.name}: dptt reconstruct ended with {code}")
    planned = re.search(r"plans for ([\d.]+) MiB", "\n".join(lines))
    record = {
        "name": way.name,
        "seconds": seconds,
        "loss": read_metrics(run / "metrics.jsonl")[-1]["loss"],
        "difference": None,
        "allowed": way.allowed,
        "peak_bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
        "planned_bytes": round(float(planned[1]) * 2**20) if planned else None,
    }
    return record, read_volume(run / "volume.h5").volume


@contextmanager
def _logged() -> Iterator[list[str]]:
    """Collect the log lines of a command, which replaces the handlers of the log but keeps its filters."""
    lines: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        lines.append(record.getMessage())
        return True

    log.addFilter(collect)
    try:
        yield lines
    finally:
        log.removeFilter(collect)


def _failures(record: dict) -> list[str]:
    failures = []
    if record["difference"] is not None and record["difference"] > record["allowed"]:
        failures.append(
            f"{record['name']}: the volume differs from the CPU's by {record['difference']:.1e} of its norm; "
            f"expected at most {record['allowed']:.0e}"
        )
    if record["peak_bytes"] is not None and record["peak_bytes"] > (record["planned_bytes"] or 0):
        failures.append(f"{record['name']}: took {record['peak_bytes']} bytes, planned {record['planned_bytes']}")
    return failures


if __name__ == "__main__":
    sys.exit(main())
