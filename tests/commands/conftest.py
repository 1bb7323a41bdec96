"""A tiny tilt series, simulated once through the command line, and the commands that the tests run on it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from command_line import BLANK, Finished, RunningCommand

from dptt.cli import main

ATOMS = """7
seven atoms of three elements, in no symmetric arrangement [x y z, Å]
Pt 0.0 0.0 0.0
Pt 1.9 -1.2 0.6
Pd -1.7 0.9 1.4
Ni 0.5 1.8 -1.6
Ni -1.1 -1.8 -0.7
Pd 1.3 1.1 1.9
Pt -0.4 -0.6 -2.2
"""
CONFIG = """
series: {folder}/series.h5
run: {folder}/run
simulation:
  specimen: {{kind: file, path: {folder}/atoms.xyz}}
  microscope:
    energy: 300e3
    semiangle_cutoff: 21.0
    aberrations: {{defocus: 40.0}}
    detector_shape: [16, 14]
    largest_angle: 30.0
  scan: {{shape: [7, 6], step: [0.7, 0.8]}}
  tilts: {{angles: [-50, -20, 5, 35, 60]}}
  fluence: 1.0e5
  multislice: {{slice_thickness: 2.0}}
volume: {{thickness: 8.0, margin: 1, slice_thickness: 2.5}}
reconstruction: {{epochs: 5, batches: 3, validation_fraction: 0.05}}
"""


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Leave the other core to others, and make sums the same in every process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """Folder with tiny.yaml and the series it describes: 5 tilts of 42 patterns of 16 x 14 pixels; never changed."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "atoms.xyz").write_text(ATOMS)
    (folder / "tiny.yaml").write_text(CONFIG.format(folder=folder))
    assert main(["simulate", str(folder / "tiny.yaml")]) == 0
    return folder


@pytest.fixture(autouse=True)
def tiny_unchanged(request) -> Iterator[None]:
    """Fail the test that changes the series all others share, not one of those that come after it."""
    path = request.getfixturevalue("tiny") / "series.h5" if "tiny" in request.fixturenames else None
    before = path.read_bytes() if path else None
    yield
    assert path is None or path.read_bytes() == before, "the test has changed tiny/series.h5: give it a copy"


@pytest.fixture
def blank_pictures(monkeypatch) -> None:
    """Leave the pictures of the report undrawn, in this process."""
    for name, blank in BLANK.items():
        monkeypatch.setattr(f"dptt.report.page.{name}", blank)


@pytest.fixture
def dptt(tmp_path_factory):
    """Run `dptt COMMAND ...`, after `before`, in a process of its own; return its exit code and what it said."""

    def run(*arguments: object, before: Callable[[], None] | None = None) -> Finished:
        said = tmp_path_factory.mktemp("said") / "stderr"
        return RunningCommand(list(map(str, arguments)), said, before=before).wait()

    return run
