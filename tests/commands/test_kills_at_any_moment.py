"""Any command, killed at random moments and started again, leaves what it would have left without the kills.

DPTT_KILLS sets the number of kills of each command, as in ``DPTT_KILLS=100 pytest ...``.
"""

import os
import random
import shutil
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import RunningCommand, files_in, without_pictures
from test_bad_import import foreign_config

KILLS = int(os.environ.get("DPTT_KILLS", "2"))
QUICK = ["volume.voxel_size=0.45", "reconstruction.every=2"]
ATOMS = "atoms={elements: [Ni, Pd, Pt], iterations: 6, rounds: 1, voxel_size: 0.3, draws: 60}"
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
}
"""Command -> its own settings."""
OTHERS = {
    "import": "import import.yaml --overwrite",
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
TIMED = ("created", "seconds", "metrics.jsonl", "report.html", "page.html", "sbatch", "config.yaml")


@pytest.fixture(scope="module")
def ready(tiny, tmp_path_factory) -> Path:
    """Folder with all that the commands need: a reconstructed and analyzed run, and arrays to import."""
    folder = tmp_path_factory.mktemp("ready")
    foreign_config(folder)
    for name in ("ptycho", "reconstruct", "analyze"):
        assert started(folder, name, tiny, folder).wait().code == 0
    return folder


def in_folder(folder: str) -> None:
    os.chdir(folder)
    without_pictures()


def started(folder: Path, name: str, tiny: Path, log: Path) -> RunningCommand:
    """Start a command in `folder`, whose run is in run/ and whose series is in series.h5 where it writes one."""
    if name in OTHERS:
        arguments = OTHERS[name].split()
    else:
        series = f"series={folder / 'series.h5' if name == 'simulate' else tiny / 'series.h5'}"
        plain = [*QUICK, *(CONFIGURED[name])] if name not in ("simulate", "validate", "plan") else CONFIGURED[name]
        arguments = [name, str(tiny / "tiny.yaml"), series, "run=run", *plain]
    return RunningCommand(arguments, log / "said", before=in_folder, before_arguments=(str(folder),))


def left_by(folder: Path) -> dict[str, object]:
    """Return what is in the files of a folder, without times."""
    content: dict[str, object] = {}
    for name in files_in(folder):
        path = folder / name
        if name == "said" or any(part in name for part in TIMED):
            content[name] = ""
        elif h5py.is_hdf5(path):
            with h5py.File(path) as file:
                file.visititems(
                    lambda item, data, name=name: content.update(
                        {f"{name}/{item}": data[()] if isinstance(data, h5py.Dataset) else ""}
                    )
                )
        else:
            content[name] = path.read_bytes()[1024 if path.suffix == ".mrc" else 0 :]  # its head has the time
    return content


def differing(left: dict[str, object], expected: dict[str, object]) -> list[str]:
    """Return where two folders differ by more than what the order of sums makes of a result."""

    def same(a: object, b: object) -> bool:
        numbers = isinstance(a, np.ndarray | np.generic) and np.asarray(a).dtype.kind in "fc"
        if numbers and np.shape(a) == np.shape(b):
            return np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True)
        return np.array_equal(a, b)

    return [name for name in {**left, **expected} if not same(left.get(name), expected.get(name))]


@pytest.mark.thorough
@pytest.mark.parametrize("name", [*CONFIGURED, *OTHERS])
def test_after_any_kills_a_command_leaves_what_it_leaves_without(tiny, tmp_path, ready, name):
    """Each kill comes while the command does its work; what it has completed by then is kept or made again."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        shutil.copytree(ready, folder)
    began = time.monotonic()
    assert started(whole, name, tiny, tmp_path).wait().code == 0
    duration = time.monotonic() - began
    moments, kills = random.Random(name), 0
    while kills < KILLS:
        command = started(killed, name, tiny, tmp_path)
        time.sleep(moments.uniform(0.0, duration))
        kills += command.process.is_alive()
        command.kill()
        if "Traceback" in (tmp_path / "said").read_text():
            pytest.fail((tmp_path / "said").read_text())
    ended = started(killed, name, tiny, tmp_path).wait()
    assert ended.code == 0, ended.stderr
    left, expected = left_by(killed), left_by(whole)
    partial = {file for file in left if ".partial" in file and file not in expected}
    assert not partial or name in UNLOCKED
    assert not differing({file: left[file] for file in left.keys() - partial}, expected)
