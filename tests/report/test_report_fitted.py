"""Fitted atoms on the page: spheres by element, ellipsoids of errors, and the list of what is in doubt."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from report_contents import ATOMS, fitted_atoms, minimal_content

from dptt.report import ReportContent
from dptt.report.fitted import doubtful_rows, fitted_space
from dptt.report.page import render_report


def test_the_view_has_places_and_colours_in_the_order_x_y_z():
    space = fitted_space(fitted_atoms())
    np.testing.assert_allclose(space["positions"], ATOMS[:, ::-1])
    assert space["element"] == [0, 1, 0]
    assert [(e["symbol"], e["count"]) for e in space["elements"]] == [("Ni", 2), ("Pt", 1)]
    assert len({e["colour"] for e in space["elements"]}) == 2


def test_ellipsoids_are_the_errors_along_x_y_z_times_a_round_number():
    space = fitted_space(fitted_atoms())
    assert space["magnification"] == 100  # 0.004 Å becomes 0.4 Å
    np.testing.assert_allclose(space["axes"], [[0.3, 0.2, 0.4], [0.3, 0.2, 0.4], [2, 1, 2]])


def test_what_the_patterns_do_not_tell_is_listed_with_its_reason():
    head, *rows = doubtful_rows(fitted_atoms())
    assert head[:5] == ["Atom", "x, y, z [Å]", "Occupancy", "Ni", "Pt"]
    assert rows == [
        ["1", "-1.60, 1.00, 2.40", "1.02 ± 0.10", "40 %", "60 %", "element not told"],
        ["2", "2.40, -2.00, -1.80", "0.35 ± 0.10", "97 %", "3 %", "not told from noise"],
    ]
    sure = replace(fitted_atoms(), told=np.ones(3, bool), occupancies=np.ones(3))
    assert doubtful_rows(sure) == []


@pytest.fixture(scope="module")
def page() -> str:
    summary = {
        "num_atoms": 3,
        "not_told": 1,
        "standard_errors_A": [0.004, 0.002, 0.003],
        "against_truth": {"rmsd_A": 0.0051, "ratios": [[0.5, -1.0, 2.0], [0.1, 0.2, -0.3], [1, 1, 1]]},
    }
    return render_report(minimal_content(fitted_atoms=fitted_atoms(), analysis={"fitted_atoms": summary}))


def test_the_page_has_the_fitted_atoms_their_errors_and_their_table(page):
    data = json.loads(re.search(r'id="dptt-data">(.*?)</script>', page, re.S)[1])
    assert data["space"]["fitted"]["element"] == [0, 1, 0]
    assert 'id="figure-fitted_errors"' in page
    assert "not told from noise" in page and "2 of 3" in page
    assert "z 0.0040, y 0.0020, x 0.0030 Å" in page and "0.0051 Å" in page


def test_without_doubt_the_page_says_so():
    sure = replace(fitted_atoms(), told=np.ones(3, bool), occupancies=np.ones(3))
    content = ReportContent("Particle", fitted_atoms=sure, analysis={"fitted_atoms": {}})
    assert "the patterns tell all 3 atoms from noise" in render_report(content)
