"""After a reconstruction other optics are named only if they gain more than the last epochs still changed."""

import json
import logging
from unittest.mock import Mock

import pytest

from dptt.assembly.problem import Problem
from dptt.distributed.comm import SerialCommunicator
from dptt.distributed.mesh import Mesh
from dptt.model.shot_noise import Fit
from dptt.runtime import volume_result
from dptt.solvers.tomography import FinalFits
from dptt.solvers.tomography.detuning import OPTICS, POSES, Preference

PREFERRED = {parameter.name: [Preference(0.0, 1.0, 0.0)] * 3 for parameter in (*OPTICS, *POSES)}
PREFERRED["scan rotation"] = [Preference(1.1, 0.07, 0.05)] * 3
"""What the patterns of a good series may prefer after an epoch."""


def write_metrics(folder, *losses: float) -> None:
    lines = [
        {"epoch": n, "loss": loss, "held_out_loss": loss, "tilt_losses": [loss] * 3, "vacuum_loss": 3.0}
        for n, loss in enumerate(losses, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def preferred(folder, monkeypatch, rank: int = 0) -> list[str]:
    monkeypatch.setattr(volume_result, "optics_preferences", lambda *arguments: PREFERRED)
    problem = Mock(spec=Problem, state=None, tilts=None, geometry=None, settings=None, names=["0000", "0001", "0002"])
    mesh = Mock(spec=Mesh, world=Mock(spec=SerialCommunicator, rank=rank, size=1))
    fits = Mock(spec=FinalFits, together=Mock(spec=Fit, figure=2.0, uncertainty=0.01))
    return volume_result._preferred_optics(folder, problem, mesh, fits)


@pytest.mark.parametrize(
    ("losses", "named"), [((1.5,), False), ((1.5, 1.0, 1.1), False), ((1.5, 1.0, 1.001, 1.0), True)]
)
def test_preferences_of_an_unfinished_volume_are_no_warnings(tmp_path, monkeypatch, caplog, losses, named):
    write_metrics(tmp_path, *losses)
    with caplog.at_level(logging.INFO, "dptt"):
        said = preferred(tmp_path, monkeypatch)
    assert bool(said) == named and ("warning: the data prefer a scan rotation" in caplog.text) == named
    assert ("other optics or poses (1) would gain less" in caplog.text) != named


def test_a_preference_is_logged_by_one_rank(tmp_path, monkeypatch, caplog):
    write_metrics(tmp_path, 1.0, 1.0, 1.0)
    assert preferred(tmp_path, monkeypatch, rank=1) and not caplog.text
