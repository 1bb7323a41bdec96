"""Tilts shared out over ranks or over the tasks of a job array: the result is that of one process.

Not to the last bit, as two runs of one process are not either: sums depend on where arrays lie in memory.
"""

import h5py
import numpy as np
import pytest
from command_line import assert_refused, edit_series, files_in, replace_patterns, run_ranks, start_ranks

from dptt.distributed.launch import LaunchError
from dptt.distributed.share import WHOLE, Share
from dptt.io.ptychography import tilt_path

PTYCHO = ["ptychography.epochs=2", "ptychography.batches=2", "ptychography.precision=double"]
NOT_RESULTS = {"command", "created", "config"}
"""Attributes that name the run rather than its result."""


def contents(path) -> dict[str, object]:
    """Return all datasets and attributes of a file by name, but for those that name the run."""
    found: dict[str, object] = {}

    def add(name, item):
        found.update({f"{name}@{key}": value for key, value in item.attrs.items()})
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(add)
        found.update({f"@{key}": value for key, value in file.attrs.items() if key not in NOT_RESULTS})
    return found


def assert_same(path, other):
    ours, theirs = contents(path), contents(other)
    assert ours.keys() == theirs.keys() and len(ours) > 10
    for name, value in ours.items():
        if np.asarray(value).dtype.kind in "fc":
            scale = np.abs(theirs[name]).max()
            np.testing.assert_allclose(value, theirs[name], rtol=0, atol=1e-10 * scale, err_msg=name)
        else:
            np.testing.assert_array_equal(value, theirs[name], err_msg=name)


@pytest.fixture(scope="module")
def dark(tiny, tmp_path_factory):
    """Return the tiny series with its fourth tilt (35°) empty."""

    def darken(file: h5py.File) -> None:
        replace_patterns(file, "0003", lambda patterns: patterns.fill(0))

    return edit_series(tiny / "series.h5", tmp_path_factory.mktemp("dark") / "series.h5", darken)


@pytest.fixture(scope="module")
def alone(tiny, dark, tmp_path_factory):
    """Return the folder of the bright field of the dark series by one process."""
    from dptt.cli import main

    run = tmp_path_factory.mktemp("alone")
    assert main(["brightfield", str(tiny / "tiny.yaml"), f"series={dark}", f"run={run}"]) == 0
    return run


@pytest.mark.parametrize("size", [pytest.param(2, marks=pytest.mark.thorough), 3])
def test_ranks_find_the_optics_that_one_process_finds(tiny, dark, alone, tmp_path, size):
    arguments = ["brightfield", tiny / "tiny.yaml", f"series={dark}", f"run={tmp_path / 'run'}"]
    ended = run_ranks(size, arguments, tmp_path / "said")
    assert [one.code for one in ended] == [0] * size, ended[0].stderr
    assert_same(tmp_path / "run" / "brightfield.h5", alone / "brightfield.h5")
    warnings = [line for one in ended for line in one.stderr.splitlines() if "its patterns hold no electrons" in line]
    assert sum("has no bright-field result" in line and "0003" in line for line in warnings) == 2, (
        "the rank that met it warns, the findings say it"
    )
    assert sum(one.stderr.count("wrote ") for one in ended) == 1


def test_a_second_bright_field_begins_from_the_tilts_that_are_done(dptt, tiny, dark, alone, tmp_path):
    run = tmp_path / "run"
    (run / "brightfield").mkdir(parents=True)
    for name in ("0000", "0002", "0004"):
        (run / "brightfield" / f"{name}.h5").write_bytes((alone / "brightfield" / f"{name}.h5").read_bytes())
    (run / "brightfield" / "0004.h5").write_bytes(b"half a file")
    ended = dptt("brightfield", tiny / "tiny.yaml", f"series={dark}", f"run={run}")
    assert ended.code == 0, ended.stderr
    estimated = [line.split()[1] for line in ended.stderr.splitlines() if "± " in line and line.startswith("tilt 0")]
    assert estimated == ["0001", "0004"]
    assert_same(run / "brightfield.h5", alone / "brightfield.h5")


def test_a_series_without_any_usable_tilt_is_refused_by_all_ranks(tiny, tmp_path):
    def darken(file: h5py.File) -> None:
        for name in file["tilts"]:
            replace_patterns(file, name, lambda patterns: patterns.fill(0))

    series = edit_series(tiny / "series.h5", tmp_path / "night.h5", darken)
    arguments = ["brightfield", tiny / "tiny.yaml", f"series={series}", f"run={tmp_path / 'run'}"]
    ended = run_ranks(2, arguments, tmp_path / "said")
    assert_refused(ended[0], "tilt 0000", "tilt 0004", "no electrons")
    assert ended[1].code == 2 and "error" not in ended[1].stderr


@pytest.mark.thorough
@pytest.mark.parametrize("command", ["brightfield", "ptycho"])
def test_shares_and_a_last_call_make_what_one_process_makes(dptt, tiny, dark, tmp_path, command):
    def arguments(run, *more):
        return [command, tiny / "tiny.yaml", f"series={dark}", f"run={tmp_path / run}", *PTYCHO, *more]

    def by_tilt(run):
        folder = "brightfield" if command == "brightfield" else "ptychography"
        return sorted(path.stem for path in (tmp_path / run / folder).iterdir())

    assert dptt(*arguments("alone")).code == 0
    together = [start_ranks(1, arguments("shared", "--share", f"{k}/3"), tmp_path / f"said{k}")[0] for k in range(3)]
    ended = [one.wait() for one in together]
    assert [one.code for one in ended] == [0, 0, 0], ended[1].stderr
    assert "share 1 of 3 is complete" in ended[1].stderr
    result = "brightfield.h5" if command == "brightfield" else "ptychography.h5"
    assert result not in files_in(tmp_path / "shared") and by_tilt("shared") == ["0000", "0001", "0002", "0004"]
    last = dptt(*arguments("shared"))
    assert last.code == 0, last.stderr
    assert not any(line.startswith("tilt 000") and "°)" in line for line in last.stderr.splitlines()), "done again"
    assert_same(tmp_path / "shared" / result, tmp_path / "alone" / result)
    if command == "ptycho":
        for name in by_tilt("alone"):
            assert_same(*(tilt_path(tmp_path / run / result, name) for run in ("shared", "alone")))


@pytest.mark.parametrize(("share", "tilts"), [("0/2", ("0000", "0002", "0004")), ("3/5", ("0003",))])
def test_a_share_is_divided_further_over_ranks_even_where_one_has_nothing_to_do(tiny, tmp_path, share, tilts):
    arguments = ["ptycho", tiny / "tiny.yaml", f"run={tmp_path / 'run'}", *PTYCHO, "--share", share]
    ended = run_ranks(2, arguments, tmp_path / "said")
    assert [one.code for one in ended] == [0, 0], ended[0].stderr
    made = [name for name in files_in(tmp_path / "run") if name.startswith("ptychography")]
    assert made == [f"ptychography/{name}.h5" for name in tilts]


@pytest.mark.parametrize(
    ("share", "words"),
    [
        ("3/3", "there is no share 3 of 3; shares count from 0 to N - 1"),
        ("0/0", "there is no share 0 of 0"),
        ("-1/3", "--share is '-1/3'; expected K/N"),
        ("1", "expected K/N, share K of N counted from 0"),
        ("1/3/5", "expected K/N"),
        ("a/b", "expected K/N"),
    ],
)
def test_a_share_that_is_none_is_refused(share, words):
    with pytest.raises(LaunchError) as refusal:
        Share.parse(share)
    assert words in str(refusal.value)


def test_the_command_line_refuses_a_share_that_is_none(dptt, tiny, tmp_path):
    assert_refused(dptt("ptycho", tiny / "tiny.yaml", f"run={tmp_path}", "--share", "8/8"), "0 to N - 1")
    assert dptt("align", tiny / "tiny.yaml", "--share", "0/8").code == 2, "align is not done tilt by tilt"


def test_shares_part_the_whole_and_differ_by_at_most_one():
    for total in (0, 1, 5, 17):
        for count in (1, 3, 8):
            shares = [Share(number, count).of(range(total)) for number in range(count)]
            assert sorted(item for share in shares for item in share) == list(range(total))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert WHOLE.whole and Share.parse(None) == WHOLE and not Share.parse("0/2").whole
    assert Share.parse("0/1").whole
