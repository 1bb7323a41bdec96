from dataclasses import replace

import numpy as np
import pytest
from report_contents import full_content, minimal_content

from dptt.analysis.summary import reliability_of_total
from dptt.report.content import column, curve, number, numbers
from dptt.report.headline import convergence_sentence, headline_facts, tilt_range, volume_facts, warnings


def run(losses, held_out=None):
    held_out = [None] * len(losses) if held_out is None else held_out
    return [
        {"epoch": i + 1, "loss": a, "held_out_loss": b} for i, (a, b) in enumerate(zip(losses, held_out, strict=True))
    ]


@pytest.mark.parametrize(
    ("losses", "start"),
    [
        ([1.0, 0.5, 0.4, 0.39, 0.389, 0.388], "The loss has converged"),
        (
            [1.0, 0.8, 0.6, 0.5, 0.4, 0.3],
            "The loss is still falling: it changed by \u221240 % over the last 2 epochs",
        ),
        ([1.0, 0.5, 0.4, 0.5, 0.6, 0.7], "The loss is rising"),
        ([1.0, 0.5, float("nan"), None], "The loss is not finite from epoch 3 on"),
        ([None, None], "The loss is not finite from epoch 1 on"),
        ([1.0, 0.5], "2 epochs: too few"),
    ],
)
def test_verdict_on_the_loss(losses, start):
    assert convergence_sentence(run(losses)).startswith(start)


def test_verdict_on_the_held_out_loss():
    losses = [1.0, 0.5, 0.4, 0.39, 0.389, 0.388]
    assert "follows it (0.4, +3.1 % relative to the loss)" in convergence_sentence(
        run(losses, [1.1, 0.6, 0.5, 0.41, 0.4, 0.4])
    )
    assert "has risen by 25 % since its minimum in epoch 3" in convergence_sentence(
        run(losses, [1.1, 0.6, 0.4, 0.41, 0.4, 0.5])
    )
    assert "No patterns were held out" in convergence_sentence(run(losses))
    assert convergence_sentence([]) == ""


def facts(content):
    return {fact.label: (fact.value, fact.detail) for fact in headline_facts(content)}


def test_resolution_names_criterion_and_reference():
    analysis = dict(full_content().analysis)
    value, detail = facts(minimal_content(analysis=analysis))["Resolution"]
    assert (value, detail) == (
        "2.14 Å",
        "FSC 0.5 against the truth; 0.143: ≤ 1.25 Å (voxel limit); one-bit: not resolved",
    )
    value, detail = facts(minimal_content(analysis={**analysis, "reference": "half-sets"}))["Resolution"]
    assert (value, detail[:32]) == ("not resolved", "FSC one-bit between half data se")


def test_the_worst_direction_comes_first_and_the_voxel_limit_is_not_called_a_resolution():
    along = [
        {"name": "z", "resolution_A": 1.05, "at_nyquist": False},
        {"name": "y", "resolution_A": 0.8, "at_nyquist": True},
        {"name": "x", "resolution_A": 0.9, "at_nyquist": False},
    ]
    overall = {"0.5": {"resolution_A": 0.8, "at_nyquist": True}}
    analysis = {"reference": "truth", "resolution": overall, "directional_fsc": along, "worst_direction": along[0]}
    value, detail = facts(minimal_content(analysis=analysis))["Resolution"]
    assert value == "1.05 Å along z"
    assert "y: ≤ 0.80 Å (voxel limit); x: 0.90 Å" in detail
    assert detail.endswith("over all directions 0.5: ≤ 0.80 Å (voxel limit)")
    unresolved = {**analysis, "worst_direction": {"name": "z", "resolution_A": None, "at_nyquist": False}}
    assert facts(minimal_content(analysis=unresolved))["Resolution"][0] == "not resolved along z"


PEAKS = {
    "positions": [[0, 0, 0]] * 7,
    "significance": [9.0] * 3 + [1.0] * 4,
    "num_significant": 3,
    "noise": {"sigma": 1.0, "vacuum_fraction": 0.5, "level": 4.9, "expected_false": 0.05},
}


def test_the_figure_of_fit_stands_beside_what_it_leaves_and_preferences_are_warnings():
    fit = {"figure_of_fit": 1.264, "figure_uncertainty": 0.0042, "unexplained": 0.081}
    (fact,) = [f for f in headline_facts(minimal_content(analysis=fit)) if f.label == "Figure of fit"]
    assert fact.value == "1.264 ± 0.004" and "8.1 % of the scattering is not" in fact.detail
    assert "has fitted" not in fact.detail
    (fact,) = [
        f for f in headline_facts(minimal_content(analysis=fit | {"fitted_noise": 0.031})) if f.label[0] == "F"
    ]
    assert "; 0.031 above 1 is noise that the volume has fitted; 8.1 %" in fact.detail
    del fit["unexplained"]  # nothing scatters
    assert "scattering" not in headline_facts(minimal_content(analysis=fit))[-1].detail
    said = "the data prefer a defocus about 30 ± 2 Å smaller"
    assert warnings(minimal_content(analysis={"preferences": [said]})) == ["The" + said[3:]]


def test_a_tilt_out_of_focus_is_a_warning_on_the_page():
    content = replace(minimal_content(), out_of_focus=["tilt 0003 is 62 Å out of focus: its defocus of 28 Å"])
    assert "Tilt 0003 is 62 Å out of focus: its defocus of 28 Å" in warnings(content)


def test_peaks_without_a_truth_are_not_called_atoms():
    shown = facts(minimal_content(analysis={"atoms": PEAKS}))
    assert list(shown) == ["Significant peaks"]
    value, detail = shown["Significant peaks"]
    assert value == "3 of 7"
    assert "Not confirmed as atoms" in detail and "no independent half-sets" in detail
    assert "above 4.9 standard deviations" in detail and "0.05 voxels" in detail
    by_half_sets = facts(minimal_content(analysis={"atoms": PEAKS, "reference": "half-sets"}))
    assert "half-sets" not in by_half_sets["Significant peaks"][1]
    unjudged = facts(minimal_content(analysis={"atoms": {"positions": [[0, 0, 0]] * 7}}))
    assert unjudged["Peaks traced"][0] == "7" and "not measured" in unjudged["Peaks traced"][1]
    assert facts(full_content())["Atoms found"][0] == "2 of 3"


def test_failed_comparisons_and_removed_displacements_are_named_on_the_page():
    registration = {"motion": "translation", "undetermined": "none", "distance_A": 1.06, "angle_deg": 0, "merit": 1.0}
    analysis = {"warnings": ["the comparison failed"], "atoms": {"registration": registration}}
    first, second = warnings(minimal_content(analysis=analysis))
    assert first == "The comparison failed"
    assert second.startswith("All atoms are displaced together by 1.06 Å from the truth")
    registration["undetermined"] = "translation"
    assert warnings(minimal_content(analysis=analysis)) == ["The comparison failed"], "the data do not determine it"
    registration["merit"] = 0.1
    assert "Only 10 % " in warnings(minimal_content(analysis=analysis))[1]


def test_volts_that_the_constraints_set_are_said_not_to_be_measured():
    assert "is not measured" in facts(full_content())["Total potential"][1]
    assert "is not measured" in {fact.label: fact.value for fact in volume_facts(full_content())}["Potential"]


def test_volts_from_the_vacuum_are_shown_with_what_is_known_of_their_error():
    analysis = {"total_potential_V_A3": 49876.0, "total_potential_error": 0.005}
    known = analysis | {"volts": reliability_of_total(analysis)}
    value, detail = facts(minimal_content(analysis=known))["Total potential"]
    assert value == "4.988e+04 V Å³"
    assert "5 to 17 % below the truth" in detail and "± 0.5 %" in detail and "not measured" not in detail
    ratio = known | {"total_potential_ratio": 0.888}
    assert "± 0.5 %" in facts(minimal_content(analysis=ratio))["Total potential"][1]


def test_no_peaks_are_shown_without_an_analysis():
    assert facts(minimal_content()) == {}


def test_volume_facts_and_tilt_range():
    found = {fact.label: fact.value for fact in volume_facts(full_content())}
    assert found["Box (z, y, x)"] == "10.2 × 10.5 × 10.4 Å"
    assert found["Tilts"] == "3, theta \u221249.8° … 60.2°"
    assert tilt_range(full_content()) == pytest.approx((-49.8, 60.2))
    assert tilt_range(minimal_content()) is None


def test_empty_volume_is_suspect():
    assert warnings(minimal_content()) == []
    assert warnings(minimal_content(volume=np.zeros((2, 3, 4), np.float32))) == ["The volume is zero everywhere."]


def test_loose_data_are_read_without_surprise():
    data = {
        "a": {"b": 1.5, "none": None, "nan": float("nan"), "yes": True, "list": [1, None], "ragged": [[1], [1, 2]]}
    }
    assert number(data, "a", "b") == 1.5
    assert [number(data, "a", key) for key in ("none", "nan", "yes", "list", "gone")] == [None] * 5
    assert number(data, "gone", "b") is None
    assert np.array_equal(numbers(data, "a", "list"), [1, np.nan], equal_nan=True)
    assert numbers(data, "a", "ragged") is None
    assert curve({"x": [1, 2], "y": [1]}, "x", "y") is None
    assert np.array_equal(column([{"a": 1}, {}], "a"), [1, np.nan], equal_nan=True)
