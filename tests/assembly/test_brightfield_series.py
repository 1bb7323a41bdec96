"""All tilts share a sign of defocus, but for those that tell another themselves or are in focus."""

from dataclasses import replace

import pytest
import torch

from dptt.assembly import brightfield_series
from dptt.assembly.brightfield_series import SeriesOptics, outlying_defocus, sign_sentence, with_common_sign
from dptt.solvers.brightfield import OpticalEstimate, Orientation
from dptt.solvers.brightfield.centre_of_mass import Curl
from dptt.solvers.brightfield.focus import FocusEvidence
from dptt.solvers.brightfield.parallax import Shifts
from dptt.solvers.brightfield.search import Candidate
from dptt.solvers.brightfield.signs import BothSigns, SeriesSign

STORED = Orientation(0.0, False)
DEPTH = 44.0  # Å
UNDERFOCUS = SeriesSign(1, 2.0, False)


def candidate(defocus: float, energy: float) -> Candidate:
    return Candidate(STORED, torch.tensor([-defocus, 3.0, 4.0], dtype=torch.float64), energy)


def estimate(defocus: float, difference: float, *, other: float = 35.0) -> OpticalEstimate:
    """Return an estimate; `difference` of explained energies with under- and overfocus, in standard deviations."""
    nothing = torch.zeros(2, 2, dtype=torch.float64)
    signs = BothSigns(candidate(other, 0.5 + 0.01 * difference), candidate(-other, 0.5), 0.01)
    return OpticalEstimate(
        orientation=STORED,
        aberrations={"C10": -defocus, "C12": 0.0, "phi12": 0.0, "C21": 50.0, "phi21": 10.0},
        rotation_uncertainty=0.1,
        defocus_uncertainty=1.0,
        energy=0.5,
        other_parity=candidate(0.0, 0.1),
        by_sign=signs,
        sign_significance=0.5,
        method="weak-phase",
        reason="",
        image=nothing,
        image_sampling=(1.0, 1.0),
        curls=(Curl(False, 0.0, 1.0, 0.4), Curl(True, 0.0, 1.0, 0.1)),
        defocus_curve=nothing,
        shifts=Shifts(nothing, nothing, nothing),
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_a_tilt_that_does_not_tell_its_sign_takes_the_optimum_of_the_sign_of_the_series(sign):
    common = replace(UNDERFOCUS, sign=sign)
    found = with_common_sign({"a": estimate(-60.0 * sign, 1.0), "b": estimate(40.0 * sign, 1.0)}, common, DEPTH)
    assert found["a"].defocus == pytest.approx(35.0 * sign)
    assert found["a"].aberrations["C12"] == pytest.approx(5.0), "the astigmatism is of that optimum too"
    assert found["a"].aberrations["C21"] == pytest.approx(50.0), "what was not searched for is kept"
    assert found["a"].defocus_uncertainty > 5
    assert found["b"].defocus == 40.0 * sign


def test_a_tilt_keeps_a_sign_that_it_tells_and_one_in_focus_keeps_its_own():
    for kept in (estimate(-60.0, -4.0), estimate(-10.0, -1.0), estimate(-60.0, 1.0, other=8.0)):
        assert with_common_sign({"a": kept}, UNDERFOCUS, DEPTH)["a"] is kept


def test_tilts_in_focus_are_not_far_from_each_other():
    assert outlying_defocus({"a": 1.0, "b": -12.0, "c": 20.0}, DEPTH)[0] == []
    assert outlying_defocus({"a": 1.0, "b": -12.0, "c": 90.0}, DEPTH)[0] == ["c"]


@pytest.mark.parametrize(
    ("sign", "told", "said"),
    [
        (
            SeriesSign(1, 8.0, True),
            -1,
            "is known: underfocus (explained energy of all tilts: 8.0 standard deviations)",
        ),
        (SeriesSign(-1, -2.0, False), -1, "cannot be told from these data (explained energy of all tilts: -2.0"),
        (SeriesSign(-1, -2.0, False), -1, "overfocus is kept"),
        (SeriesSign(1, 0.0, False), 0, "and the file has none: underfocus is taken. Set the defocus"),
    ],
)
def test_the_log_says_how_the_sign_is_known(sign, told, said):
    assert said in sign_sentence(SeriesOptics({"a": estimate(30.0, 0.0)}, STORED, 0.1, sign, told))


@pytest.mark.parametrize(
    ("significance", "same_peak", "defocus", "said"),
    [(4.0, False, 27.0, "tilt c is 68 Å out"), (2.0, True, 27.0, "tilt c is 68 Å out"), (2.0, False, 95.0, "c: its")],
)
def test_a_tilt_far_from_the_others_keeps_its_focus_if_its_data_tell_it(
    monkeypatch, significance, same_peak, defocus, said
):
    def evidence(data, own, typical, reach):
        assert data == "c" and own.coefficients[0] == -27.0 and (typical, reach) == (-95.0, 47.5)
        return FocusEvidence(candidate(95.0, 0.4), 0.1 * significance, 0.1, same_peak)

    monkeypatch.setattr(brightfield_series, "focus_evidence", evidence)
    estimates = {"a": estimate(95.0, 0.0), "b": estimate(110.0, 0.0), "c": estimate(27.0, 0.0)}
    estimates["d"] = estimate(90.0, 0.0)
    result, sentences = brightfield_series.with_plausible_defocus(estimates, DEPTH, lambda name: name)
    assert result["c"].defocus == defocus and result["a"] is estimates["a"]
    assert len(sentences) == 1 and said in sentences[0]
