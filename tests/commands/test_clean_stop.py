"""A run that a signal or its time limit ends has everything complete, says so by exit code 85, and can go on."""

import importlib
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import RunningCommand, checkpoint, epochs_of, run_ranks, start_ranks, wait_until, without_pictures

from dptt.cli import main
from dptt.distributed.comm import SerialCommunicator
from dptt.io.checkpoint import load_checkpoint
from dptt.io.ptychography import tilt_path
from dptt.io.volumes import read_volume
from dptt.runtime.stopping import clean_stop

QUICK = ["volume.voxel_size=0.45", "reconstruction.every=2", "reconstruction.batches=2"]
STOPPED = 85


def command(tiny: Path, run: Path, *overrides: str) -> list[str]:
    return ["reconstruct", str(tiny / "tiny.yaml"), f"run={run}", *QUICK, *overrides]


FURTHER = [pytest.param(number, marks=pytest.mark.thorough) for number in (signal.SIGUSR1, signal.SIGINT)]


@pytest.mark.parametrize("number", [*FURTHER, signal.SIGTERM])
def test_a_signal_ends_the_run_after_the_epoch_and_the_same_command_goes_on(tiny, tmp_path, number):
    run, arguments = tmp_path / "run", command(tiny, tmp_path / "run", "reconstruction.epochs=300")
    running = RunningCommand(arguments, tmp_path / "said")
    wait_until(lambda: len(epochs_of(run)) >= 2, running)
    os.kill(running.process.pid, number)
    ended = running.wait()
    done = epochs_of(run)[-1]
    assert ended.code == STOPPED, ended.stderr
    assert f"stopped after epoch {done} of 300: {number.name}. Everything so far is saved" in ended.stderr
    assert load_checkpoint(run / "checkpoint.h5")[1]["epoch"] == done < 300
    assert not (run / "volume.h5").exists()
    more = f"reconstruction.epochs={done + 1}"
    assert RunningCommand([*arguments, more], tmp_path / "said").wait().code == 0
    assert RunningCommand(command(tiny, tmp_path / "whole", more), tmp_path / "said").wait().code == 0
    for name, expected in checkpoint(tmp_path / "whole").items():
        np.testing.assert_array_equal(checkpoint(run)[name], expected, err_msg=name)


def test_a_signal_to_one_rank_ends_all_of_them_after_the_same_epoch(tiny, tmp_path):
    run = tmp_path / "run"
    ranks = start_ranks(3, command(tiny, run, "reconstruction.epochs=300"), tmp_path / "said")
    wait_until(lambda: len(epochs_of(run)) >= 1, ranks[0])
    os.kill(ranks[2].process.pid, signal.SIGUSR1)
    ended = [rank.wait() for rank in ranks]
    assert [one.code for one in ended] == [STOPPED] * 3, ended
    assert [one.stderr.count("stopped after epoch") for one in ended] == [1, 0, 0]
    assert load_checkpoint(run / "checkpoint.h5")[1]["epoch"] == epochs_of(run)[-1]


def test_the_second_ctrl_c_interrupts_the_epoch(tiny, tmp_path):
    run, said = tmp_path / "run", tmp_path / "said"
    running = RunningCommand(command(tiny, run, "reconstruction.epochs=9"), said, before=never_finish_an_epoch)
    wait_until(lambda: (run / "config.yaml").exists(), running)
    os.kill(running.process.pid, signal.SIGINT)
    heard = "stopping once the current work is complete; press Ctrl-C again to interrupt it"
    wait_until(lambda: heard in said.read_text(), running)
    os.kill(running.process.pid, signal.SIGINT)
    ended = running.wait()
    assert ended.code == 130
    assert "interrupted; run the same command to resume from the last complete epoch" in ended.stderr


def never_finish_an_epoch() -> None:
    import dptt.commands.reconstruct as command

    command.solve = lambda *arguments, **options: [time.sleep(0.1) for _ in range(600)]


def test_no_epoch_begins_that_would_end_after_the_time_limit_if_it_took_as_long_as_the_longest(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("dptt.runtime.stopping.time.monotonic", lambda: clock[0])
    with clean_stop(time_limit=10.0, began=-60.0) as stop:  # the start took a minute
        for ends in (100.0, 250.0, 270.0, 385.0):
            assert stop.reason() == ""
            stop.begin_piece()
            clock[0] = ends
            stop.end_piece()
        assert stop.reason() == "", "at 385 s 155 s are left, as long as the longest took"
        clock[0] = 391.0
        expected = "2.5 min are left of the distribution.time_limit of 10 min, less than the 2.5 min that the longest"
        assert stop.reason().startswith(expected)
        clock[0] = 541.0
        assert stop.reason() == "the distribution.time_limit of 10 min is over"
        stop.agree(SerialCommunicator(), stop.reason(), "epoch 4 of 9")
        raise AssertionError("it went on")
    assert stop.exit_code == STOPPED


@pytest.mark.thorough
def test_a_time_limit_that_is_over_still_lets_one_epoch_be_done_each_time(tiny, tmp_path):
    """Else a run that is started again and again would never end."""
    arguments = command(tiny, tmp_path / "run", "reconstruction.epochs=3", "distribution.time_limit=1e-6")
    codes = [run_ranks(2, arguments, tmp_path / "said")[1].code for _ in range(3)]
    assert codes == [STOPPED, STOPPED, 0]
    assert epochs_of(tmp_path / "run") == [1, 2, 3]


def test_a_run_whose_time_limit_is_over_says_so_and_still_goes_on_each_time(tiny, tmp_path, dptt):
    run, series = tmp_path / "run", tmp_path / "series.h5"
    arguments = [str(tiny / "tiny.yaml"), f"run={run}", f"series={series}", *QUICK, "reconstruction.epochs=2"]
    assert main(["simulate", *arguments]) == 0
    ended = dptt("run", *arguments, "distribution.time_limit=1e-6")
    assert ended.code == STOPPED
    over = "the distribution.time_limit of 1e-06 min is over"
    assert f"warning: {over} before any step has begun; reconstruction works as long as it must" in ended.stderr
    assert f"stopped after epoch 1 of 2: {over}" in ended.stderr
    assert epochs_of(run) == [1]


def test_a_time_limit_that_is_over_still_lets_one_tilt_be_done_each_time(tiny, tmp_path, capsys):
    arguments = ["ptycho", str(tiny / "tiny.yaml"), f"run={tmp_path}", *QUICK, "ptychography.epochs=1"]
    for done in (1, 2):
        assert main([*arguments, "distribution.time_limit=1e-6"]) == STOPPED
        assert "stopped after a tilt: the distribution.time_limit of 1e-06 min is over" in capsys.readouterr().err
        assert len(list((tmp_path / "ptychography").glob("*.h5"))) == done


def signal_before(module: str, function: str, rank: int) -> None:
    """Let SIGTERM come to `rank` just before `function` of `module` is called for the first time."""
    found = importlib.import_module(module)
    original, called = getattr(found, function), []

    def wrapped(*arguments, **options):
        if not called and int(os.environ.get("RANK", "0")) == rank:
            os.kill(os.getpid(), signal.SIGTERM)
        called.append(function)
        return original(*arguments, **options)

    setattr(found, function, wrapped)


@pytest.mark.parametrize("place", [("dptt.config", "load_config"), ("dptt.commands.reconstruct", "build_problem")])
def test_a_signal_before_the_first_epoch_is_not_lost(tiny, tmp_path, place):
    arguments = command(tiny, tmp_path / "run", "reconstruction.epochs=300")
    ended = run_ranks(2, arguments, tmp_path / "said", signal_before, (*place, 1))
    assert [one.code for one in ended] == [STOPPED] * 2, ended
    assert "stopped after the start, before the first epoch: SIGTERM" in ended[0].stderr
    assert epochs_of(tmp_path / "run") == []


@pytest.mark.thorough
def test_a_signal_while_the_volume_is_written_leaves_it_whole_and_says_so(tiny, tmp_path):
    run = tmp_path / "run"
    arguments = command(tiny, run, "reconstruction.epochs=2")
    ended = run_ranks(
        2, arguments, tmp_path / "said", signal_before, ("dptt.commands.reconstruct", "write_result", 1)
    )
    assert [one.code for one in ended] == [STOPPED] * 2, ended
    assert "stopped after volume.h5: SIGTERM" in ended[0].stderr
    assert read_volume(run / "volume.h5").attributes["epochs"] == 2
    assert not list(run.glob(".*partial*"))
    assert [one.code for one in run_ranks(2, arguments, tmp_path / "said")] == [0, 0]


def test_signals_during_analysis_and_report_end_the_run_after_them_and_it_goes_on(tiny, tmp_path):
    run, said = tmp_path / "run", tmp_path / "said"
    series = shutil.copy(tiny / "series.h5", tmp_path)
    arguments = ["run", str(tiny / "tiny.yaml"), f"run={run}", f"series={series}", *QUICK, "reconstruction.epochs=1"]
    for function, after in (("analyze", "the analysis"), ("report", "the report")):
        ended = RunningCommand(arguments, said, None, without_pictures_and_signal_before, (function,)).wait()
        assert ended.code == STOPPED, ended.stderr
        assert f"stopped after {after}: SIGTERM" in ended.stderr
        assert (run / "report.html").exists() == (function == "report")
    ended = RunningCommand(arguments, said).wait()
    assert ended.code == 0 and "report: up to date" in ended.stderr, ended.stderr


def without_pictures_and_signal_before(function: str) -> None:
    without_pictures()
    signal_before("dptt.commands.run", function, 0)


@pytest.mark.parametrize(
    ("interval", "saved"),
    [
        pytest.param("1", [1, 2, 3, 4, 5], marks=pytest.mark.thorough),
        ("2", [1, 2, 4, 5]),
        pytest.param("0.001 min", [1, 2, 3, 4, 5], marks=pytest.mark.thorough),
        ("9 min", [1, 5]),
    ],
)
def test_checkpoints_are_as_far_apart_as_they_are_set(tiny, tmp_path, interval, saved):
    """The first shows that it can be written, the last completes the run."""
    arguments = command(
        tiny, tmp_path / "run", "reconstruction.epochs=5", f"distribution.checkpoint_every={interval}"
    )
    ended = run_ranks(2, arguments, tmp_path / "said", note_checkpoints, (str(tmp_path),))
    assert [one.code for one in ended] == [0, 0], ended
    for rank in range(2):
        assert list(map(int, (tmp_path / f"saved{rank}").read_text().split())) == saved
    assert epochs_of(tmp_path / "run") == [1, 2, 3, 4, 5]


def note_checkpoints(folder: str) -> None:
    import dptt.commands.reconstruct as command

    save = command.save_state

    def save_state(checkpoint, state) -> None:
        time.sleep(0.07)  # longer than 0.001 min
        with open(f"{folder}/saved{os.environ['RANK']}", "a") as file:
            print(state.epoch, file=file)
        save(checkpoint, state)

    command.save_state = save_state


def test_a_run_that_is_stopped_between_two_checkpoints_saves_its_last_epoch(tiny, tmp_path):
    run = tmp_path / "run"
    arguments = command(tiny, run, "reconstruction.epochs=300", "distribution.checkpoint_every=9 min")
    running = RunningCommand(arguments, tmp_path / "said")
    wait_until(lambda: len(epochs_of(run)) >= 3, running)
    os.kill(running.process.pid, signal.SIGUSR1)
    assert running.wait().code == STOPPED
    assert load_checkpoint(run / "checkpoint.h5")[1]["epoch"] == epochs_of(run)[-1] >= 3


@pytest.mark.parametrize("what", ["ptycho", pytest.param("run", marks=pytest.mark.thorough)])
def test_ptychography_ends_after_the_tilt_and_goes_on_with_the_next(tiny, tmp_path, what):
    run, said = tmp_path / "run", tmp_path / "said"
    series = shutil.copy(tiny / "series.h5", tmp_path)  # `dptt run` makes it anew for another volume
    arguments = [what, str(tiny / "tiny.yaml"), f"run={run}", f"series={series}", *QUICK, "ptychography={epochs: 40}"]
    arguments.append("reconstruction.epochs=1")
    running = RunningCommand(arguments, said)
    wait_until(lambda: tilt_path(run / "ptychography.h5", "0000").exists(), running)
    os.kill(running.process.pid, signal.SIGUSR1)
    ended = running.wait()
    assert ended.code == STOPPED, ended.stderr
    assert "stopped after a tilt: SIGUSR1" in ended.stderr
    done = {path.name: path.stat().st_mtime_ns for path in (run / "ptychography").glob("*.h5")}
    assert 1 <= len(done) < 5
    assert not (run / "ptychography.h5").exists()
    assert RunningCommand(arguments, said, before=without_pictures).wait().code == 0
    assert (run / "ptychography.h5").exists()
    assert {name: (run / "ptychography" / name).stat().st_mtime_ns for name in done} == done
