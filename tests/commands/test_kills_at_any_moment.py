"""Any command, killed at random moments and started again, leaves bit for bit what it would have left without kills.

The moments are spread over the work of a command, measured in processor time: the kernel ends the process as soon as
it has used so much of it, however busy the machine is. When a command ends before its kill, what it left is compared,
and all begins anew. DPTT_KILLS sets the number of kills of each command, as in ``DPTT_KILLS=50 pytest ...``.
"""

import json
import multiprocessing.util
import os
import random
import shutil
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import RunningCommand, files_in, without_pictures
from test_bad_import import foreign_config

from dptt.cli import main
from dptt.logs import read_metrics

KILLS = int(os.environ.get("DPTT_KILLS", "3"))
QUICK = ["volume.voxel_size=0.45", "reconstruction.every=2", "simulation.tilts.angles=[-40, 5, 50]"]
ATOMS = "atoms={elements: [Ni, Pd, Pt], iterations: 3, rounds: 1, voxel_size: 0.3, draws: 20}"
CONFIGURED = {
    "simulate": ["--overwrite"],
    "brightfield": [],
    "ptycho": ["ptychography.epochs=2"],
    "align": ["ptychography.epochs=2"],
    "reconstruct": ["reconstruction.epochs=4"],
    "atoms": ["reconstruction.epochs=4", ATOMS],
    "analyze": ["reconstruction.epochs=4"],
    "validate": [],
    "plan": ["--machine", "h100"],
    "run": ["reconstruction.epochs=2", "ptychography.epochs=1"],
}
"""Command -> its own settings."""
OTHERS = {
    "import": "import import.yaml --overwrite series=series.h5 run=run",
    "report": "report run",
    "export mrc": "export run mrc --overwrite",
    "export csv": "export run csv --overwrite",
    "export zarr": "export run zarr --overwrite",
    "compare": "compare run run -o page.html",
    "init": "init frames.npy --overwrite",
    "example": "example 00_minimal --overwrite",
    "schema": "schema -o schema.json",
}
"""Command -> its arguments in the folder of the run."""
UNLOCKED = [name for name in OTHERS if name not in ("import", "report")]
"""Commands that lock nothing: they leave files of killed writers, which the next one removes after an hour."""
STAGES = ("ptycho", "reconstruct", "analyze")
BEGINS = {"brightfield": 0, "ptycho": 0, "run": 0, "reconstruct": 0, "align": 1, "atoms": 2, "analyze": 2}
"""Command -> how many of the stages have been done before it begins; all of them for any other."""
QUICKLY = ("validate",)
"""Commands that are killed in every run of the suite."""
TIMED = ("machine", "report.html", "page.html", "config.yaml", "plan.txt", "sbatch")
"""Parts of names of files that hold times, or the folder."""
VOLATILE = ("created", "seconds", "command", "config", "host", "identity", "sha256", "checksum", "ranks")
"""Parts of names of values that hold times or the folder, or are made of these."""

ROUNDED = ("brightfield",)
"""Parts of names of files whose last bits differ from run to run, also without kills: sums depend on where in memory
their terms are."""


@pytest.fixture(scope="module")
def ready(tiny, tmp_path_factory) -> Path:
    """Folder with copies of all that a command begins with: 0 has arrays to import, N the first N stages too."""
    folder = tmp_path_factory.mktemp("ready")
    (folder / "0").mkdir()
    foreign_config(folder / "0")
    assert (
        main(["simulate", str(tiny / "tiny.yaml"), f"series={folder}/0/series.h5", f"run={folder}/run", *QUICK]) == 0
    )
    for number, name in enumerate(STAGES):
        shutil.copytree(folder / f"{number}", folder / f"{number + 1}")
        assert started(folder / f"{number + 1}", name, tiny, folder).wait().code == 0
    return folder


def prepare(folder: str, end_after: float, log: str) -> None:
    """Go to `folder`; end this process after seconds of its time, as SIGKILL would, or note how many it has used."""
    os.chdir(folder)
    without_pictures()
    begun = time.process_time()
    if end_after:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process: no code of it runs any more
        signal.setitimer(signal.ITIMER_PROF, end_after)
    else:
        used = lambda: Path(log, "used").write_text(str(time.process_time() - begun))  # noqa: E731
        multiprocessing.util.Finalize(None, used, exitpriority=1)


def started(folder: Path, name: str, tiny: Path, log: Path, end_after: float = 0.0) -> RunningCommand:
    """Start a command in `folder`, whose run is in run/ and whose series is in series.h5; `run` makes its own."""
    if name in OTHERS:
        arguments = OTHERS[name].split()
    else:
        series = "made.h5" if name == "run" else "series.h5"
        arguments = [name, str(tiny / "tiny.yaml"), f"series={series}", "run=run", *QUICK, *CONFIGURED[name]]
    return RunningCommand(
        arguments, log / "said", before=prepare, before_arguments=(str(folder), end_after, str(log))
    )


def left_by(folder: Path) -> dict[str, object]:
    """Return what is in the files of a folder, without times."""
    content: dict[str, object] = {}

    def note(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if not is_volatile(name.rpartition("/")[2]):
            content[name] = item[()] if isinstance(item, h5py.Dataset) else ""
            content.update({f"{name}@{key}": value for key, value in item.attrs.items() if not is_volatile(key)})

    for name in files_in(folder):
        path = folder / name
        if name == "said" or any(part in name for part in TIMED):
            content[name] = ""
        elif path.name == "metrics.jsonl":
            content[name] = [without_times(line) for line in read_metrics(path)]
        elif path.suffix == ".json":
            content[name] = without_times(json.loads(path.read_text()))
        elif h5py.is_hdf5(path):
            with h5py.File(path) as file:
                note(name, file)
                file.visititems(lambda item, data, name=name: note(f"{name}/{item}", data))
        else:
            content[name] = path.read_bytes()[1024 if path.suffix == ".mrc" else 0 :]  # its head has the time
    return content


def is_volatile(key: str) -> bool:
    return any(part in key for part in VOLATILE)


def without_times(value: object) -> object:
    """Return nested JSON without what differs between two runs of the same command."""
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if not is_volatile(key)}
    return [without_times(inner) for inner in value] if isinstance(value, list) else repr(value)


def same(name: str, a: object, b: object) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    if a.dtype.kind in "fc" and any(part in name for part in ROUNDED):
        return np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True)
    return a.tolist() == b.tolist() if a.dtype.kind == "O" else a.tobytes() == b.tobytes()


def assert_same(killed: Path, expected: dict[str, object], name: str) -> None:
    left = left_by(killed)
    partial = {file for file in left if ".partial" in file and file not in expected}
    assert not partial or name in UNLOCKED
    left = {file: left[file] for file in left.keys() - partial}
    assert [file for file in {**left, **expected} if not same(file, left.get(file), expected.get(file))] == []


NAMES = [*CONFIGURED, *OTHERS]


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICKLY else pytest.mark.thorough) for n in NAMES])
def test_after_any_kills_a_command_leaves_what_it_leaves_without(tiny, tmp_path, ready, name):
    """What is complete when a kill comes is kept or made again."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    begins = ready / str(BEGINS.get(name, len(STAGES)))
    shutil.copytree(begins, whole)
    assert started(whole, name, tiny, tmp_path).wait().code == 0
    work, expected = float((tmp_path / "used").read_text()), left_by(whole)
    shutil.rmtree(whole)
    moments, kills, compared = random.Random(f"{name} {KILLS}"), 0, 0
    while kills < KILLS or killed.exists():
        if not killed.exists():
            shutil.copytree(begins, killed)
        end_after = moments.uniform(0.0, work) + 1e-6 if kills < KILLS else 0.0
        ended = started(killed, name, tiny, tmp_path, end_after).wait()
        assert ended.code in (0, -signal.SIGPROF) and "Traceback" not in ended.stderr, ended.stderr
        kills += ended.code != 0
        if ended.code == 0:
            assert_same(killed, expected, name)
            shutil.rmtree(killed)
            compared += 1
    if note := os.environ.get("DPTT_NOTES"):
        with open(note, "a") as file:
            file.write(f"{name}: {kills} kills, {compared} folders compared\n")
