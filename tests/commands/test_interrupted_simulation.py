"""A simulation that is interrupted continues with the next tilt, and its series is that of one that was not."""

import os
import re
import signal
from pathlib import Path

from command_line import RunningCommand, files_in, run_ranks, series_content

from dptt.cli import main

STOPPED = 85


def arguments(tiny: Path, series: Path, *overrides: str) -> list[str]:
    return ["simulate", str(tiny / "tiny.yaml"), f"series={series}", f"run={series.parent / 'run'}", *overrides]


def tilts_of(series: Path) -> dict[str, bytes]:
    """Return the files of the complete tilts of an unfinished series."""
    folder = series.with_name(f".{series.name}.tilts")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.exists() else {}


def signal_before_replacing(name: str, number: int) -> None:
    """Let a signal come to this process before the file `name` becomes complete."""
    replace = os.replace

    def replaced(source, target):
        if Path(target).name == name:
            os.kill(os.getpid(), number)
        replace(source, target)

    os.replace = replaced


def test_a_killed_simulation_continues_with_the_next_tilt_to_the_same_series(tiny, tmp_path):
    series = tmp_path / "series.h5"
    kill = ("series.h5.0002.h5", signal.SIGKILL)
    ended = RunningCommand(arguments(tiny, series), tmp_path / "said", None, signal_before_replacing, kill).wait()
    assert ended.code == -signal.SIGKILL and not series.exists()
    left = tilts_of(series)
    complete = {name: content for name, content in left.items() if "partial" not in name}
    assert list(complete) == ["series.h5.0000.h5", "series.h5.0001.h5"] and len(left) == 3
    stop = ("series.h5.0003.h5", signal.SIGTERM)
    ended = RunningCommand(arguments(tiny, series), tmp_path / "said", None, signal_before_replacing, stop).wait()
    assert ended.code == STOPPED, ended.stderr
    assert "2 of 5 tilts are there from an interrupted simulation" in ended.stderr
    assert "stopped after a tilt: SIGTERM. Everything so far is saved" in ended.stderr
    continued = tilts_of(series)
    assert list(continued) == [f"series.h5.000{n}.h5" for n in range(4)]
    assert {name: continued[name] for name in complete} == complete, "not made again"
    assert RunningCommand(arguments(tiny, series), tmp_path / "said").wait().code == 0
    assert series_content(series) == series_content(tiny / "series.h5")
    assert files_in(tmp_path) == ["said", "series.h5"]


def test_any_number_of_ranks_makes_the_series_of_one(tiny, tmp_path):
    expected = series_content(tiny / "series.h5")
    for size in (2, 6):  # the last rank of six has nothing to do
        series = tmp_path / f"{size}" / "series.h5"
        ended = run_ranks(size, arguments(tiny, series), tmp_path / f"said{size}")
        assert [one.code for one in ended] == [0] * size, ended
        assert series_content(series) == expected
        assert not tilts_of(series)


def test_a_signal_to_one_rank_stops_all_and_any_number_of_ranks_continues(tiny, tmp_path):
    series = tmp_path / "series.h5"
    stop = ("series.h5.0001.h5", signal.SIGUSR1)  # the first tilt of rank 1
    ended = run_ranks(2, arguments(tiny, series), tmp_path / "said", signal_before_replacing, stop)
    assert [one.code for one in ended] == [STOPPED] * 2, ended
    assert {"series.h5.0000.h5", "series.h5.0001.h5"} <= set(tilts_of(series)) and not series.exists()
    assert main(arguments(tiny, series)) == 0
    assert series_content(series) == series_content(tiny / "series.h5")


def test_tilts_of_other_settings_or_damaged_ones_are_made_again(tiny, tmp_path, capsys):
    series, limit, change = tmp_path / "series.h5", "distribution.time_limit=1e-6", "simulation.seed=1"
    assert main(arguments(tiny, series, limit)) == STOPPED, "one tilt is made, then the time is over"
    assert list(tilts_of(series)) == ["series.h5.0000.h5"]
    assert main(arguments(tiny, series, change, limit)) == STOPPED
    assert "1 tilts of an interrupted simulation with other settings are discarded" in capsys.readouterr().err
    first = tmp_path / ".series.h5.tilts" / "series.h5.0000.h5"
    first.write_bytes(first.read_bytes()[:1000])
    assert main(arguments(tiny, series, change)) == 0
    assert main(arguments(tiny, tmp_path / "whole.h5", change)) == 0
    assert series_content(series) == series_content(tmp_path / "whole.h5") != series_content(tiny / "series.h5")


def test_a_file_in_the_place_of_the_complete_tilts_is_refused_before_any_work(tiny, tmp_path):
    series = tmp_path / "series.h5"
    (tmp_path / ".series.h5.tilts").touch()
    for size in (1, 3):
        ended = run_ranks(size, arguments(tiny, series), tmp_path / f"said{size}")
        assert [one.code for one in ended] == [2] * size
        messages = "".join(one.stderr for one in ended)
        assert messages.count("is a file; expected a folder, for the tilts that are complete") == 1
        assert "Traceback" not in messages and "tilts to simulate" not in messages
        assert not series.exists()


def test_a_simulation_that_takes_long_says_in_its_first_tilt_how_long(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dptt.commands.simulate.FORECAST", 0.0)
    assert main(arguments(tiny, tmp_path / "series.h5", "simulation.multislice.frozen_phonons=3")) == 0
    (line,) = re.findall(r"about ([\d.]+) s a tilt, and ([\d.]+) s for 5 tilts\n", capsys.readouterr().err)
    assert abs(float(line[1]) - 5 * float(line[0])) <= 3, "both are rounded"
