"""What the page proposes to try next: nothing that the run itself shows to be of no use."""

from pathlib import Path

import pytest

from dptt.config import load_config
from dptt.report.content import ReportContent
from dptt.showing.next_steps import next_steps

QUICKSTART = Path(__file__).parents[2] / "jobs" / "configs" / "00_minimal.yaml"
NO_ERRORS = {"max_angle_error_deg": 1e-14, "max_translation_error_A": 0.0}


def proposals(*overrides, figure=1.6, poses=None):
    analysis = {"figure_of_fit": figure} | ({} if poses is None else {"poses": poses})
    content = ReportContent(title="", analysis=analysis)
    return " ".join(next_steps(content, load_config(QUICKSTART, list(overrides)), Path("run"), finished=True))


def test_what_the_truth_shows_to_be_right_is_not_proposed_to_be_refined():
    assert ".from_epoch" not in proposals(poses=NO_ERRORS)
    assert "slice_thickness" in proposals(poses=NO_ERRORS), "the misfit has other causes, which are named"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("simulation.scan.jitter=0.1", ["positions"]),
        ("simulation.scan.drift=[0.5, 0]", ["positions"]),
        ("simulation.experiment={scan_scale: [0.01, 0]}", ["positions"]),
        ("simulation=null", ["positions", "angles", "translations"]),
    ],
)
def test_what_may_be_wrong_is_proposed_to_be_refined(wrong, named):
    said = proposals(wrong, poses=NO_ERRORS if len(named) == 1 else None)
    assert [name for name in ("positions", "angles", "translations") if f".{name}.from_epoch=3" in said] == named


def test_a_volume_that_explains_all_but_the_noise_leaves_nothing_to_refine():
    assert "from_epoch" not in proposals("simulation=null", figure=1.05)
