"""One tiny series and one reconstruction of it, in a folder that every test and every example in a docstring uses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from dptt.cli import main
from dptt.commands import align, brightfield, ptycho
from dptt.report import page

PNG = b"\x89PNG\r\n\x1a\n"
CONFIG = """
series: series.h5
run: run
simulation:
  specimen: {kind: nanoparticle, element: Au, diameter: 6.0, orientation: [10, 20, 30]}
  microscope:
    energy: 300e3
    semiangle_cutoff: 21.0
    aberrations: {defocus: 40.0}
    detector_shape: [16, 14]
    largest_angle: 30.0
  scan: {shape: [7, 6], step: [0.7, 0.8]}
  tilts: {angles: [-20, 5, 35]}
  fluence: 1.0e5
  multislice: {slice_thickness: 2.0}
volume: {thickness: 8.0, margin: 1, slice_thickness: 2.5}
reconstruction: {epochs: 2, batches: 3, validation_fraction: 0.05}
"""


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Leave the other core to others."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def pictures_of_one_pixel():
    """Let Matplotlib write nothing but a signature: drawing takes longer than all else in runs of this size.

    Undone after every module: other rooms' tests in this process look at pictures.
    """
    with pytest.MonkeyPatch.context() as patch:
        drawn = Figure.savefig

        def savefig(self: Figure, target: Any, **options: Any) -> None:
            if options.get("format") == "png":
                target.write(PNG)
            else:
                drawn(self, target, **options)

        patch.setattr(Figure, "savefig", savefig)
        for module in (page, brightfield, ptycho, align):
            patch.setattr(module, "to_png", lambda draw: PNG)
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """Folder with tiny.yaml, its series.h5, and `run` with what `dptt reconstruct` makes of it."""
    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("tiny.yaml").write_text(CONFIG)
        assert main(["simulate", "tiny.yaml"]) == 0
        assert main(["reconstruct", "tiny.yaml"]) == 0
    return folder


@pytest.fixture
def here(tiny, monkeypatch) -> Path:
    """The same folder, as the current one."""
    monkeypatch.chdir(tiny)
    return tiny
