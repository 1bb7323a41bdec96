"""A run may be killed at any moment: the same command finishes it, with the result of an uninterrupted run."""

import os
import random
import shutil
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import RunningCommand, checkpoint, epochs_of, wait_until

from dptt.io.checkpoint import load_checkpoint
from dptt.io.volumes import read_volume

QUICK = ["volume.voxel_size=0.45", "reconstruction.every=2", "reconstruction.batches=2"]
EPOCHS = 14
REFINED = [f"reconstruction.{what}.from_epoch=3" for what in ("probe", "positions", "angles", "translations")]


def command(tiny: Path, run: Path, *overrides: str) -> list[str]:
    return ["reconstruct", str(tiny / "tiny.yaml"), f"run={run}", *QUICK, *REFINED, *overrides]


def assert_equal_results(run: Path, expected: Path) -> None:
    """Compare bit by bit: volume, momentum, poses, positions, probes, and the loss of every epoch."""
    ours, theirs = checkpoint(run), checkpoint(expected)
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, err_msg=name)
    np.testing.assert_array_equal(read_volume(run / "volume.h5").volume, read_volume(expected / "volume.h5").volume)
    assert epochs_of(run) == epochs_of(expected)


@pytest.fixture(scope="module")
def uninterrupted(tiny, tmp_path_factory):
    """Return the folder of a run of so many epochs that nothing interrupted."""
    done: dict[int, Path] = {}

    def folder_of(epochs: int) -> Path:
        if epochs not in done:
            run = tmp_path_factory.mktemp("uninterrupted") / "run"
            overrides = [f"reconstruction.epochs={epochs}"]
            ended = RunningCommand(command(tiny, run, *overrides), run.parent / "said").wait()
            assert ended.code == 0, ended.stderr
            done[epochs] = run
        return done[epochs]

    return folder_of


@pytest.fixture(scope="module")
def finished(uninterrupted) -> Path:
    """Folder of a run of three epochs; copy it before changing it."""
    return uninterrupted(3)


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """Copy of the finished run, to be continued or damaged."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.mark.thorough
@pytest.mark.slow
def test_killed_at_random_moments_it_still_gives_the_uninterrupted_result(tiny, tmp_path, uninterrupted):
    run, moments = tmp_path / "run", random.Random(20_251_122)
    arguments = command(tiny, run, f"reconstruction.epochs={EPOCHS}")
    killed_after = []
    for _ in range(6):
        before = len(epochs_of(run))
        running = RunningCommand(arguments, tmp_path / "said")
        wait_until(lambda before=before: len(epochs_of(run)) > before, running)
        running.process.join(moments.uniform(0.0, 0.1))
        assert running.process.is_alive(), "too few epochs for this test"
        running.kill()
        killed_after.append(len(epochs_of(run)))
    assert len(set(killed_after)) == 6
    assert RunningCommand(arguments, tmp_path / "said").wait().code == 0
    assert epochs_of(run) == list(range(1, EPOCHS + 1))
    assert_equal_results(run, uninterrupted(EPOCHS))


def half_written(run: Path) -> list[Path]:
    return list(run.glob(".checkpoint.h5.*.partial.h5"))


@pytest.mark.thorough
def test_killed_while_a_checkpoint_is_being_written_it_keeps_the_one_before(tiny, tmp_path, uninterrupted):
    run = tmp_path / "run"
    arguments = command(tiny, run, f"reconstruction.epochs={EPOCHS}")
    while not half_written(run):  # most attempts hit the moment
        running = RunningCommand(arguments, tmp_path / "said")
        before = len(epochs_of(run))
        wait_until(lambda before=before: len(epochs_of(run)) > before + 1, running)
        wait_until(lambda: half_written(run), running)
        running.kill()
    assert load_checkpoint(run / "checkpoint.h5")[1]["epoch"] >= 1
    assert RunningCommand(arguments, tmp_path / "said").wait().code == 0
    assert_equal_results(run, uninterrupted(EPOCHS))


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_before_the_checkpoint_takes_its_name() -> None:
    """At epoch 2: the new checkpoint is complete, the old one is renamed already."""
    replace = os.replace

    def replace_or_die(source, target) -> None:
        if Path(target).name == "checkpoint.h5" and (Path(target).parent / "checkpoint.h5.previous").exists():
            kill_this_process()
        replace(source, target)

    os.replace = replace_or_die


def die_after_the_checkpoint_before_the_metrics() -> None:
    """At epoch 2: between the two things that an epoch leaves."""
    import dptt.commands.reconstruct as command

    save, append = command.save_state, command.MetricsFile.append
    done = []

    def count_and_call(function):
        def called(*arguments, **options):
            if len(done) == 3:
                kill_this_process()
            done.append(function(*arguments, **options))

        return called

    command.save_state, command.MetricsFile.append = count_and_call(save), count_and_call(append)


def die_before_the_volume() -> None:
    """After the last epoch: everything is done except the result."""
    import dptt.commands.reconstruct as command

    command.write_result = lambda *arguments, **named: kill_this_process()


@pytest.mark.parametrize(
    "moment",
    [
        die_before_the_checkpoint_takes_its_name,
        die_after_the_checkpoint_before_the_metrics,
        die_before_the_volume,
    ],
)
def test_killed_at_the_worst_moments_it_loses_nothing(tiny, tmp_path, finished, moment):
    run = tmp_path / "run"
    arguments = command(tiny, run, "reconstruction.epochs=3")
    assert RunningCommand(arguments, tmp_path / "said", before=moment).wait().code == -signal.SIGKILL
    assert not (run / "volume.h5").exists()
    assert RunningCommand(arguments, tmp_path / "said").wait().code == 0
    assert epochs_of(run) == [1, 2, 3]
    assert_equal_results(run, finished)


def spoil_the_third_epoch() -> None:
    """Let the volume become NaN as if a step had been too long."""
    from dptt.solvers.tomography import tilt_update

    update = tilt_update.update_from_minibatch_

    def spoilt_update(state, *arguments, **options):
        if state.epoch == 2:
            state.volume.fill_(float("nan"))
        return update(state, *arguments, **options)

    tilt_update.update_from_minibatch_ = spoilt_update


def test_a_loss_that_is_not_finite_leaves_the_last_checkpoint_as_it_was(tiny, tmp_path, finished):
    run = tmp_path / "run"
    arguments = command(tiny, run, "reconstruction.epochs=3")
    ended = RunningCommand(arguments, tmp_path / "said", before=spoil_the_third_epoch).wait()
    assert ended.code == 1
    assert "error: the loss is nan in epoch 3, tilt " in ended.stderr
    assert load_checkpoint(run / "checkpoint.h5")[1]["epoch"] == 2
    assert not (run / "volume.h5").exists()
    assert RunningCommand(arguments, tmp_path / "said").wait().code == 0
    assert_equal_results(run, finished)


def die_while_the_metrics_are_rewritten() -> None:
    """When a resumed run drops the lines of the epochs that it repeats: the file is open for writing, and empty."""
    write_text = Path.write_text

    def write_or_die(path, text, *options) -> None:
        if path.name == "metrics.jsonl":
            path.open("w").close()
            kill_this_process()
        write_text(path, text, *options)

    Path.write_text = write_or_die


def test_killed_while_it_resumes_it_keeps_the_losses_of_the_epochs_done(tiny, tmp_path, copied):
    arguments = command(tiny, copied, "reconstruction.epochs=4")
    RunningCommand(arguments, tmp_path / "said", before=die_while_the_metrics_are_rewritten).wait()
    assert RunningCommand(arguments, tmp_path / "said").wait().code == 0
    assert epochs_of(copied) == [1, 2, 3, 4]


@pytest.mark.thorough
def test_more_epochs_continue_a_finished_run(tiny, dptt, copied, uninterrupted):
    ended = dptt(*command(tiny, copied, "reconstruction.epochs=5"))
    assert ended.code == 0, ended.stderr
    assert f"resumed from {copied}/checkpoint.h5 after epoch 3" in ended.stderr
    assert "epoch 004/005" in ended.stderr and "epoch 003/" not in ended.stderr
    assert_equal_results(copied, uninterrupted(5))


def test_a_finished_run_started_again_does_no_epoch_and_keeps_its_volume(tiny, dptt, copied, finished):
    ended = dptt(*command(tiny, copied, "reconstruction.epochs=3"))
    assert ended.code == 0
    assert "after epoch 3" in ended.stderr
    assert "epoch 00" not in ended.stderr
    assert_equal_results(copied, finished)


def test_changed_choices_are_refused_by_name_with_the_cure(tiny, dptt, copied, finished):
    ended = dptt(
        *command(tiny, copied, "reconstruction.epochs=4"),
        *("reconstruction.batches=5", "reconstruction.positions.from_epoch=2", "volume.margin=2"),
        "reconstruction.tilt_order=sequential",
    )
    assert ended.code == 2
    for change in (
        "reconstruction.batches was 2 and is now 5",
        "reconstruction.positions.from_epoch was 3 and is now 2",
        "volume.margin was 1 and is now 2",
        "reconstruction.tilt_order was 'random' and is now 'sequential'",
    ):
        assert change in ended.stderr
    assert ended.stderr.count(" was ") == 4, "nothing else is named"
    assert "another `run` folder, or give --restart" in ended.stderr
    assert_equal_results(copied, finished)


def test_another_series_is_refused(tiny, dptt, copied, tmp_path):
    other = tmp_path / "other.h5"
    assert dptt("simulate", tiny / "tiny.yaml", f"series={other}", "simulation.seed=1").code == 0
    ended = dptt(*command(tiny, copied, f"series={other}", "reconstruction.epochs=4"))
    assert ended.code == 2
    assert "series was " in ended.stderr and "--restart" in ended.stderr


@pytest.mark.thorough
def test_choices_that_leave_finished_epochs_as_they_are_may_change(tiny, dptt, copied, uninterrupted):
    ended = dptt(
        *command(tiny, copied, "reconstruction.epochs=5", "analysis.match_distance=0.5"),
        *("reconstruction.data_memory=0", "reconstruction.chunk_memory=16"),
    )
    assert ended.code == 0, ended.stderr
    assert_equal_results(copied, uninterrupted(5))


def test_restart_forgets_the_earlier_run(tiny, dptt, copied, tmp_path):
    (copied / "analysis.json").write_text("{}")
    arguments = ("reconstruction.epochs=1", "reconstruction.batches=5")
    ended = dptt(*command(tiny, copied, *arguments), "--restart")
    assert ended.code == 0, ended.stderr
    assert "resumed" not in ended.stderr
    assert not (copied / "analysis.json").exists(), "it belongs to the earlier volume"
    assert dptt(*command(tiny, tmp_path / "fresh", *arguments)).code == 0
    assert_equal_results(copied, tmp_path / "fresh")


def overwrite_bytes(path: Path) -> None:
    """Change some bytes in the middle of the volume: the file still opens."""
    with h5py.File(path, "r") as file:
        offset = file["arrays/volume"].id.get_offset()
    with path.open("r+b") as file:
        file.seek(offset + 1000)
        file.write(b"Z" * 64)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [overwrite_bytes, pytest.param(truncate, marks=pytest.mark.thorough), Path.unlink])
def test_a_ruined_checkpoint_falls_back_to_the_one_before(tiny, dptt, copied, uninterrupted, damage):
    damage(copied / "checkpoint.h5")
    ended = dptt(*command(tiny, copied, "reconstruction.epochs=5"))
    assert ended.code == 0, ended.stderr
    assert "checkpoint.h5.previous after epoch 2" in ended.stderr
    assert_equal_results(copied, uninterrupted(5))


def test_without_a_sound_checkpoint_both_reasons_and_the_cure_are_given(tiny, dptt, copied):
    overwrite_bytes(copied / "checkpoint.h5")
    truncate(copied / "checkpoint.h5.previous")
    ended = dptt(*command(tiny, copied, "reconstruction.epochs=5"))
    assert ended.code == 2
    for word in ("checkpoint.h5: ", "corrupted", "checkpoint.h5.previous: ", "truncated", "--restart"):
        assert word in ended.stderr
    assert (copied / "volume.h5").exists(), "the earlier result stays"
