"""The acceptance of a GPU: a part that fails or hangs costs nothing of the others, and what is measured is kept."""

import json
import re
import sys
import time
from pathlib import Path

import pytest
from gpu_acceptance import runner
from gpu_acceptance.figures import figures_of
from gpu_acceptance.parts import PARTS, Part
from gpu_acceptance.quickstart import _failures


def part(name: str, code: str, seconds: float = 20.0) -> Part:
    command = (sys.executable, "-S", "-c", code)
    return Part(name, seconds, ("false",), command)


SLEEPING_CHILD = "import subprocess; subprocess.run(['sleep', '60'])"


def test_a_part_that_fails_or_hangs_costs_nothing_of_the_others(tmp_path):
    parts = [
        part("hangs", SLEEPING_CHILD, seconds=0.5),
        part("fails", "print('what went wrong'); raise SystemExit(3)"),
        part("passes", "print('7 passed in 1 s')"),
    ]
    begin = time.monotonic()
    assert not runner.run_parts(parts, tmp_path, rehearse=True, seconds=60)
    assert time.monotonic() - begin < 30
    records = json.loads((tmp_path / "acceptance.json").read_text())["parts"]
    assert [record["outcome"] for record in records] == [
        "ran past its limit of 0 s",
        "failed with exit code 3",
        "passed",
    ]
    text = (tmp_path / "acceptance.txt").read_text()
    assert "| what went wrong" in text and "7 passed in 1 s" in text and "a rehearsal" in text


def test_what_is_known_is_written_after_every_part(tmp_path):
    read = f"import json; print(len(json.load(open({str(tmp_path / 'acceptance.json')!r}))['parts']))"
    runner.run_parts([part("first", ""), part("second", read)], tmp_path, rehearse=True, seconds=60)
    assert (tmp_path / "second" / "log.txt").read_text().strip() == "1"


def test_a_part_for_which_no_time_is_left_is_not_begun(tmp_path):
    assert not runner.run_parts([part("late", "")], tmp_path, rehearse=True, seconds=5)
    assert "late: not begun: no time was left" in (tmp_path / "acceptance.txt").read_text()


def test_figures_of_a_benchmark_are_lines_with_units(tmp_path):
    (tmp_path / "log.txt").write_text("")
    result = {
        "name": "tilt-iteration: small",
        "median_seconds": {"bare": 0.2, "dptt": 0.1},
        "ratio_to_bare": {"bare": 1.0, "dptt": 0.5},
        "peak_bytes": {"bare": None, "dptt": 3e8},
        "gradient_error": {"dptt": 6e-6},
    }
    curve = [{"epoch": 1, "seconds": 3.2, "resolution_A": None, "mean_correlation": 0.25}]
    document = {"results": [result], "particles": [{"name": "tube", "curve": curve}]}
    (tmp_path / "benchmark.json").write_text(json.dumps(document))
    assert figures_of(tmp_path) == [
        "tilt-iteration: small",
        "  bare        0.2000 s,   1.00 x bare transforms",
        "  dptt        0.1000 s,   0.50 x bare transforms, peak 300 MB, error of the gradient 6e-06",
        "tube",
        "  epoch 1: 3.2 s, no resolution yet, mean correlation of the shells 0.2500",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        (
            {"difference": 2e-3},
            ["fused: the volume differs from the CPU's by 2.0e-03 of its norm; expected at most 1e-03"],
        ),
        ({"peak_bytes": 11}, ["fused: took 11 bytes, planned 10"]),
        ({"planned_bytes": None}, ["fused: took 10 bytes, planned None"]),
    ],
    ids=str,
)
def test_a_volume_that_differs_and_memory_beyond_the_plan_are_failures(change, said):
    record = {"name": "fused", "difference": 1e-4, "allowed": 1e-3, "peak_bytes": 10, "planned_bytes": 10}
    assert _failures(record | change) == said


def test_every_part_has_a_rehearsal_and_the_first_ones_fit_in_the_time():
    assert len({one.name for one in PARTS}) == len(PARTS)
    assert sum(one.seconds for one in PARTS[:3]) < 9 * 60, (
        "correctness, the tilt-iteration and the quickstart always run"
    )
    assert all(one.rehearsal for one in PARTS)


def test_every_package_that_dptt_needs_travels_or_is_expected_on_the_machine():
    root = Path(__file__).parents[2]
    wheels = (root / "scripts" / "gpu_wheels.sh").read_text()
    expected_there = {"torch", "numpy", "scipy", "h5py", "numba"}
    assert all(name.lower() in wheels.lower() for name in expected_there)
    needed = re.search(r"install_requires=\[(.*?)\]", (root / "setup.py").read_text(), re.S)
    names = set(re.findall(r"^\s*\"([A-Za-z0-9_-]+)", needed[1], re.M))
    packages = set(re.search(r"packages=\((.*?)\)", wheels, re.S)[1].split())
    assert len(names) > 10 and names - expected_there <= packages
