"""A newcomer's first steps, as README.md and docs/python.md show them."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import relative_difference

from dptt.cli import main
from dptt.io.dataset import TiltSeries
from dptt.io.volumes import read_volume

ROOT = Path(__file__).resolve().parents[2]


def example(document: str, language: str, number: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)[number]


def test_the_configuration_of_the_readme_imports_and_validates(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    angle = 1.5 * np.hypot(*np.mgrid[-16:16, -16:16])  # mrad
    for name in ("m30", "0", "p30"):
        counts = np.random.default_rng(1).poisson(np.where(angle < 21, 30.0, 0.02), (5, 6, 32, 32))
        np.save(f"tilt_{name}.npy", counts.astype(np.uint16))
    Path("mine.yaml").write_text(example("README.md", "yaml"))
    assert main(["import", "mine.yaml"]) == 0
    with TiltSeries.open("runs/mine/series.h5") as series:
        assert [tilt.euler_angles[1] for tilt in series.tilts] == [-30, 0, 30]
        assert series.tilts[0].scan_shape == (5, 6)
        assert series.tilts[0].aberrations["C10"] == -100
    assert main(["validate", "mine.yaml"]) == 0, capsys.readouterr().err


@pytest.mark.slow
def test_the_example_in_python_gives_the_volume_of_the_command(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("series.h5").symlink_to(tiny / "series.h5")
    text = (tiny / "tiny.yaml").read_text().replace(str(tiny), str(tmp_path)).replace("epochs: 5", "epochs: 1")
    Path("run.yaml").write_text(text)
    found: dict = {}
    exec(example("docs/python.md", "python", 1), found)
    assert main(["reconstruct", "run.yaml"]) == 0
    assert isinstance(found["volume"], torch.Tensor)
    assert relative_difference(found["volume"].numpy(), read_volume(tmp_path / "run" / "volume.h5").volume) < 1e-6
