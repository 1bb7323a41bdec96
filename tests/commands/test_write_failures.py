"""A file that cannot be written stops every rank with one message that says which and why, and harms no older one."""

import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
from command_line import Finished, RunningCommand, checkpoint, epochs_of, run_ranks

from dptt.io.checkpoint import load_checkpoint
from dptt.io.volumes import read_volume

QUICK = ["volume.voxel_size=0.45", "reconstruction.every=2", "reconstruction.batches=2"]


def command(tiny: Path, run: Path, *overrides: str) -> list[str]:
    return ["reconstruct", str(tiny / "tiny.yaml"), f"run={run}", *QUICK, *overrides]


@pytest.fixture
def begun(tiny, tmp_path) -> Path:
    """Folder of a run of two epochs."""
    arguments = command(tiny, tmp_path / "run", "reconstruction.epochs=2")
    assert RunningCommand(arguments, tmp_path / "said").wait().code == 0
    return tmp_path / "run"


def assert_failed(ended: list[Finished], file: Path, cause: str) -> None:
    """Check that all ranks failed in order, and one of them said which file and why."""
    assert [one.code for one in ended] == [1] * len(ended), ended
    said = "".join(one.stderr for one in ended)
    assert said.count("error: ") == 1, said
    assert "Traceback" not in said and "HDF5" not in said
    assert f"error: {file}: cannot be written ({cause})" in said
    assert "run the same command to resume" in said


def limit_file_size(size: int) -> None:
    """No file grows beyond `size` bytes: what a quota does, without being root."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def limit_at_the_result(size: int) -> None:
    """The disk is full when the checkpoints are written and the result is not."""
    import dptt.commands.reconstruct as command

    write = command.write_result

    def write_result(*arguments, **named) -> None:
        limit_file_size(size)
        write(*arguments, **named)

    command.write_result = write_result


@pytest.mark.parametrize(
    "part",
    [pytest.param(0.2, marks=pytest.mark.thorough), 0.6, pytest.param(0.98, marks=pytest.mark.thorough)],
    ids=["in its head", "in its rows", "at its end"],
)
def test_a_checkpoint_that_does_not_fit_leaves_the_ones_before(tiny, tmp_path, begun, part):
    before = {name: (begun / name).read_bytes() for name in ("checkpoint.h5", "checkpoint.h5.previous")}
    limit = int(part * len(before["checkpoint.h5"]))
    running = RunningCommand(
        command(tiny, begun, "reconstruction.epochs=4"),
        tmp_path / "said",
        before=limit_file_size,
        before_arguments=(limit,),
    )
    assert_failed([running.wait()], begun / "checkpoint.h5", "File too large")
    assert {name: (begun / name).read_bytes() for name in before} == before
    assert not list(begun.glob(".*partial*")), "nothing is left on the full disk"
    assert RunningCommand(command(tiny, begun, "reconstruction.epochs=4"), tmp_path / "said").wait().code == 0
    assert (
        RunningCommand(command(tiny, tmp_path / "whole", "reconstruction.epochs=4"), tmp_path / "said").wait().code
        == 0
    )
    np.testing.assert_array_equal(checkpoint(begun)["volume"], checkpoint(tmp_path / "whole")["volume"])
    assert epochs_of(begun) == [1, 2, 3, 4]


@pytest.mark.parametrize("slabs", [1, 2])
def test_where_one_rank_cannot_write_all_stop(tiny, tmp_path, begun, slabs):
    size = (begun / "checkpoint.h5").stat().st_size
    ended = run_ranks(
        2,
        command(tiny, begun, "reconstruction.epochs=4", f"distribution.slabs={slabs}"),
        tmp_path / "ranks",
        before=limit_file_size,
        before_arguments=(int(0.6 * size),),
    )
    assert_failed(ended, begun / "checkpoint.h5", "File too large")
    assert load_checkpoint(begun / "checkpoint.h5")[1]["epoch"] == 2


def test_a_result_that_does_not_fit_is_written_by_the_same_command_later(tiny, tmp_path, begun):
    arguments = command(tiny, begun, "reconstruction.epochs=3")
    old = (begun / "volume.h5").read_bytes()
    ended = RunningCommand(
        arguments, tmp_path / "said", before=limit_at_the_result, before_arguments=(len(old) // 2,)
    ).wait()
    assert_failed([ended], begun / "volume.h5", "File too large")
    assert (begun / "volume.h5").read_bytes() == old
    assert load_checkpoint(begun / "checkpoint.h5")[1]["epoch"] == 3
    assert RunningCommand(arguments, tmp_path / "said").wait().code == 0
    assert read_volume(begun / "volume.h5").attributes["epochs"] == 3


def test_metrics_that_cannot_be_written_stop_the_run_as_well(tiny, tmp_path, begun):
    """They come before the checkpoint, so that a resumed run never lacks a line."""
    (begun / "metrics.jsonl").unlink()
    (begun / "metrics.jsonl.partial").mkdir()  # the name that the new file takes at first: even root cannot write it
    ended = run_ranks(2, command(tiny, begun, "reconstruction.epochs=3"), tmp_path / "ranks")
    assert_failed(ended, begun, "Is a directory")


def forbid_writing_at_the_checkpoint(run: str) -> None:
    import dptt.commands.reconstruct as command

    save = command.save_state

    def save_state(*arguments, **options) -> None:
        Path(run).chmod(0o555)
        before = os.geteuid()
        if before == 0:
            os.seteuid(65534)  # root may write everywhere
        try:
            save(*arguments, **options)
        finally:
            os.seteuid(before)

    command.save_state = save_state


def test_a_folder_that_became_read_only_stops_the_run(tiny, tmp_path, begun):
    for folder in [tmp_path, *tmp_path.parents]:
        if not folder.stat().st_mode & 0o001:
            folder.chmod(0o755)  # pytest's own, closed to others: the checkpoint itself is to be refused
    ended = RunningCommand(
        command(tiny, begun, "reconstruction.epochs=4"),
        tmp_path / "said",
        before=forbid_writing_at_the_checkpoint,
        before_arguments=(str(begun),),
    ).wait()
    begun.chmod(0o755)
    assert_failed([ended], begun / "checkpoint.h5", "Permission denied")
    assert load_checkpoint(begun / "checkpoint.h5")[1]["epoch"] == 2
