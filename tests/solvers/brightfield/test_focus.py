"""A tilt far from the focus of the others is told from a side peak by its own data."""

import pytest
import torch
from weak_object import scanned, turn

from dptt.solvers.brightfield.data import BrightFieldData
from dptt.solvers.brightfield.focus import focus_evidence
from dptt.solvers.brightfield.orientation import Orientation
from dptt.solvers.brightfield.search import Candidate

STORED = Orientation(0.0, False)
TYPICAL, REACH = -100.0, 50.0  # C10 of the other tilts [Å]


def at(focus: float) -> Candidate:
    return Candidate(STORED, torch.tensor([focus, 0.0, 0.0], dtype=torch.float64), 0.0)


@pytest.fixture(scope="module", params=[-27.0, -175.0])
def out_of_focus(request) -> tuple[BrightFieldData, float]:
    return scanned(turn(0), {"C10": request.param}, (14, 15), (0.9, 0.9), electrons=2e4), request.param


def test_a_tilt_that_is_out_of_focus_is_believed(out_of_focus):
    data, focus = out_of_focus
    evidence = focus_evidence(data, at(focus), TYPICAL, REACH)
    assert evidence.significance > 3
    assert abs(evidence.usual.coefficients[0].item() - TYPICAL) <= REACH


def test_a_side_peak_is_not(out_of_focus):
    data, focus = out_of_focus
    evidence = focus_evidence(data, at(TYPICAL), focus, REACH)
    assert evidence.significance < -3 and not evidence.same_peak
    assert evidence.usual.coefficients[0].item() == pytest.approx(focus, abs=8.0)


def test_a_focus_just_beyond_those_of_the_others_is_not_taken_for_theirs():
    data = scanned(turn(0), {"C10": -154.0}, (14, 15), (0.9, 0.9), electrons=2e4)
    evidence = focus_evidence(data, at(-152.0), TYPICAL, REACH)
    assert evidence.significance < 3 and evidence.same_peak


def test_a_tilt_without_a_specimen_tells_nothing():
    data = scanned(turn(0), {"C10": -27.0}, (14, 15), (0.9, 0.9), sign=0.0, electrons=2e4)
    evidence = focus_evidence(data, at(-27.0), TYPICAL, REACH)
    assert evidence.significance < 3 and not evidence.same_peak
