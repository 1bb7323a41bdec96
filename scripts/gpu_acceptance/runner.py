"""Runs parts one after the other within a time, and writes what is known after each."""

import json
import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from gpu_acceptance.figures import figures_of
from gpu_acceptance.parts import Part

LEAST_SECONDS = 10.0
"""A part is not begun with less time than this."""


def run_parts(parts: Sequence[Part], output: Path, rehearse: bool, seconds: float) -> bool:
    """Run `parts` within `seconds`, write `acceptance.json` and `.txt` after each, and return whether all passed."""
    output.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    records: list[dict] = []
    for part in parts:
        folder = output / part.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        records.append({"part": part.name} | _run(part, folder, rehearse, end - time.monotonic()))
        _write({"machine": _machine(rehearse), "parts": records}, output)
        print(_lines(records[-1]), flush=True)
    return all(record["outcome"] == "passed" for record in records)


def _run(part: Part, folder: Path, rehearse: bool, left: float) -> dict:
    """Run one part in a process group of its own, which is killed whole when its time is over."""
    if left < LEAST_SECONDS:
        return {"outcome": "not begun: no time was left", "seconds": 0.0, "figures": []}
    limit = min(part.seconds, left)
    command = [word.format(out=folder) for word in (part.rehearsal if rehearse else part.command)]
    log, begin = folder / "log.txt", time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(limit)
            outcome = "passed" if code == 0 else f"failed with exit code {code}"
        except subprocess.TimeoutExpired:
            outcome = f"ran past its limit of {limit:.0f} s"
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return {
        "outcome": outcome,
        "seconds": round(time.monotonic() - begin, 1),
        "command": command,
        "figures": figures_of(folder),
        "last_lines": log.read_text(errors="replace").splitlines()[-15:],
    }


def _write(document: dict, output: Path) -> None:
    """Replace both files; a machine that goes away in between leaves those of the part before."""
    text = "\n".join([document["machine"], "", *map(_lines, document["parts"])]) + "\n"
    for name, content in (
        ("acceptance.json", json.dumps(document, indent=1, ensure_ascii=False)),
        ("acceptance.txt", text),
    ):
        partial = output / f".{name}.partial"
        partial.write_text(content)
        os.replace(partial, output / name)


def _lines(record: dict) -> str:
    """Return a part as text: what became of it, its figures, and the end of its log if it did not pass."""
    head = f"{record['part']}: {record['outcome']}, {record['seconds']:.0f} s"
    end = record.get("last_lines", []) if record["outcome"] != "passed" else []
    return "\n".join([head, *(f"    {line}" for line in record["figures"]), *(f"    | {line}" for line in end)])


def _machine(rehearse: bool) -> str:
    has_gpu = torch.cuda.is_available() and not rehearse
    device = torch.cuda.get_device_name() if has_gpu else f"{platform.machine()} (no GPU: a rehearsal)"
    versions = f"PyTorch {torch.__version__}, CUDA {torch.version.cuda or 'none'}"
    return f"{device}, {versions}, {time.strftime('%Y-%m-%d %H:%M')}"
