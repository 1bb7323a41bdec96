"""A checkpoint is loaded exactly as it was saved, or refused; one complete checkpoint always exists."""

import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from dptt.io.checkpoint import (
    checkpoint_exists,
    load_checkpoint,
    load_latest_checkpoint,
    previous_path,
    read_checkpoint,
    read_checkpoint_rows,
    save_checkpoint,
)
from dptt.io.errors import CheckpointError, WriteError


def state(epoch: int = 3) -> tuple[dict, dict]:
    random = np.random.default_rng(epoch)
    arrays = {
        "volume": (random.normal(size=(3, 5, 7)) + 1j).astype(np.complex64),
        "optimiser/momentum": random.normal(size=(2, 3)),
        "optimiser/step": np.asarray(0.5, np.float32),
        "random_state": random.integers(0, 255, 2500, dtype=np.uint8),
        "mask": np.array([[True, False, True]]),
        "empty": np.zeros((0, 2)),
        "big_endian": np.arange(4, dtype=">i4"),
        "strided": np.arange(12.0).reshape(3, 4)[:, ::2],
    }
    return arrays, {
        "epoch": epoch,
        "loss": 0.1 + 0.2,
        "config": "ä: 1\n" * 30_000,
        "run/name": "a",
        "loss_max": np.inf,
    }


def test_arrays_and_attributes_come_back_bit_for_bit(tmp_path):
    arrays, attributes = state()
    save_checkpoint(tmp_path / "run.h5", arrays, attributes)
    loaded, loaded_attributes = load_checkpoint(tmp_path / "run.h5")
    assert loaded_attributes == attributes
    assert {name: type(value) for name, value in loaded_attributes.items()} == {
        name: type(value) for name, value in attributes.items()
    }
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype and loaded[name].shape == array.shape
        assert loaded[name].tobytes() == array.tobytes()


def test_the_checkpoint_before_is_kept(tmp_path):
    path = tmp_path / "run.h5"
    for epoch in (1, 2, 3):
        save_checkpoint(path, *state(epoch))
    assert load_checkpoint(path)[1]["epoch"] == 3
    assert load_checkpoint(previous_path(path))[1]["epoch"] == 2
    assert sorted(os.listdir(tmp_path)) == ["run.h5", "run.h5.previous"]


def test_a_failing_save_leaves_both_checkpoints_as_they_were(tmp_path, monkeypatch):
    path = tmp_path / "run.h5"
    save_checkpoint(path, *state(1))
    save_checkpoint(path, *state(2))
    with pytest.raises(CheckpointError, match="array 'names' has type <U1; expected numbers"):
        save_checkpoint(path, {"names": np.array(["a"])}, {})
    with pytest.raises(CheckpointError, match="attribute 'seed' is 18446744073709551616; expected at most 64 bits"):
        save_checkpoint(path, {}, {"seed": 2**64})
    with pytest.raises(CheckpointError, match="name '/volume' has an empty part"):
        save_checkpoint(path, {"/volume": np.zeros(3)}, {})
    with pytest.raises(CheckpointError, match="name 'a' is both a value and the group of 'a/b'. Rename one"):
        save_checkpoint(path, {"a": np.zeros(2), "a/b": np.zeros(2)}, {})
    with pytest.raises(WriteError, match="cannot be written .disk is full"), monkeypatch.context() as patched:
        patched.setattr("dptt.io.atomic_write.os.fsync", full_disk)
        save_checkpoint(path, *state(3))
    assert load_latest_checkpoint(path)[1]["epoch"] == 2
    assert load_checkpoint(path)[1]["epoch"] == 2
    assert load_checkpoint(previous_path(path))[1]["epoch"] == 1
    assert sorted(os.listdir(tmp_path)) == ["run.h5", "run.h5.previous"]


def full_disk(descriptor):
    raise OSError("disk is full")


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused_and_the_previous_one_used(tmp_path, kept):
    path = tmp_path / "run.h5"
    save_checkpoint(path, *state(1))
    save_checkpoint(path, *state(2))
    os.truncate(path, int(path.stat().st_size * kept))
    with pytest.raises(CheckpointError, match="run.h5.*(Copy or write it again|start again)"):
        load_checkpoint(path)
    _, attributes, used = load_latest_checkpoint(path)
    assert attributes["epoch"] == 1 and used == previous_path(path)


def test_a_ruined_checkpoint_does_not_displace_the_sound_previous_one(tmp_path):
    path = tmp_path / "run.h5"
    save_checkpoint(path, *state(1))
    save_checkpoint(path, *state(2))
    os.truncate(path, 3000)
    save_checkpoint(path, *state(3))
    assert load_checkpoint(path)[1]["epoch"] == 3
    assert load_checkpoint(previous_path(path))[1]["epoch"] == 1


def test_a_changed_element_name_or_attribute_breaks_the_checksum(tmp_path):
    path = tmp_path / "run.h5"

    def change_element(file):
        file["arrays/optimiser/momentum"][1, 2] += 1e-9

    def rename(file):
        file.move("arrays/volume", "arrays/potential")

    def change_attribute(file):
        file["attributes/epoch"][()] = 4

    for change in (change_element, rename, change_attribute):
        save_checkpoint(path, *state())
        with h5py.File(path, "r+") as file:
            change(file)
        with pytest.raises(
            CheckpointError, match="it was corrupted. Continue from its .previous file, or start again"
        ):
            load_checkpoint(path)


def test_any_flipped_byte_of_the_arrays_is_noticed(tmp_path):
    path = tmp_path / "run.h5"
    arrays = {"volume": np.random.default_rng(0).normal(size=(9, 11, 13))}
    save_checkpoint(path, arrays, {})
    content = path.read_bytes()
    start = content.index(arrays["volume"].tobytes())
    for position in (start, start + 5000, start + arrays["volume"].nbytes - 1):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(CheckpointError, match="arrays/volume cannot be read .it does not match its checksum"):
            load_checkpoint(path)


def cut_state() -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    volume = random.normal(size=(3, 11, 7)) + 1j * random.normal(size=(3, 11, 7))
    return {"volume": volume, "optimiser/velocity": random.normal(size=(3, 11, 7)).astype(np.float32)}


def test_arrays_cut_into_rows_come_back_whole_or_as_any_rows(tmp_path):
    path, cut = tmp_path / "run.h5", {f"cut/{name}": array for name, array in cut_state().items()}
    save_checkpoint(path, *state(), cut)
    loaded, attributes = load_checkpoint(path)
    assert attributes == state()[1]
    assert loaded.keys() == state()[0].keys() | cut.keys()
    found = read_checkpoint(path).cut
    assert found == {name: (array.shape, array.dtype) for name, array in cut.items()}
    for name, array in cut.items():
        assert loaded[name].tobytes() == array.tobytes() and loaded[name].dtype == array.dtype
        for rows in (range(0, 4), range(4, 4), range(5, 11), range(11)):
            own = read_checkpoint_rows(path, [name], rows)[name]
            np.testing.assert_array_equal(own, array[:, rows.start : rows.stop])


def test_a_damaged_row_is_noticed_by_those_who_read_it_and_by_them_alone(tmp_path):
    path, cut = tmp_path / "run.h5", cut_state()
    save_checkpoint(path, {}, {}, cut)
    with h5py.File(path, "r+") as file:
        file["arrays/volume"][1, 6, 2] += 1e-12
        file["arrays/volume"][0, 9, 0] *= -1
    read_checkpoint_rows(path, ["volume"], range(0, 6))
    read_checkpoint_rows(path, ["optimiser/velocity"], range(11))
    with pytest.raises(CheckpointError, match=r"2 row\(s\) of volume, the first y = 6, do not match their SHA-256"):
        read_checkpoint_rows(path, ["volume"], range(4, 11))
    with pytest.raises(CheckpointError, match="corrupted. Continue from its .previous file, or start again"):
        load_checkpoint(path)


def test_rows_that_changed_places_or_names_are_noticed(tmp_path):
    path, cut = tmp_path / "run.h5", cut_state()

    def swap_rows(file):
        for name in ("arrays/volume", "row_sha256/volume"):
            rows = file[name][:, [2, 3]]
            file[name][:, [2, 3]] = rows[:, ::-1]

    def swap_arrays(file):
        for folder in ("arrays", "row_sha256"):
            file.move(f"{folder}/volume", f"{folder}/other")
            file.move(f"{folder}/momentum", f"{folder}/volume")
            file.move(f"{folder}/other", f"{folder}/momentum")

    for change in (swap_rows, swap_arrays):
        save_checkpoint(path, {}, {}, {"volume": cut["volume"], "momentum": cut["volume"][::-1]})
        with h5py.File(path, "r+") as file:
            change(file)
        with pytest.raises(CheckpointError, match="corrupted"):
            load_checkpoint(path)


def test_a_cut_array_that_lost_its_checksums_is_noticed(tmp_path):
    path = tmp_path / "run.h5"
    save_checkpoint(path, {}, {}, cut_state())
    with h5py.File(path, "r+") as file:
        del file["row_sha256/volume"]
    with pytest.raises(CheckpointError, match="corrupted"):
        load_checkpoint(path)


def test_a_checkpoint_of_the_version_before_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "run.h5"
    save_checkpoint(path, {"volume": np.zeros((2, 3, 4))}, {"version_dptt": "0.0.9"})
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 1
    expected = (
        "is of version 1, written by dptt 0.0.9; expected 2. Finish the run with the dptt that started it, or start"
    )
    with pytest.raises(CheckpointError, match=expected):
        load_checkpoint(path)


def test_with_nothing_left_both_reasons_are_given(tmp_path):
    path = tmp_path / "run.h5"
    assert not checkpoint_exists(path)
    with pytest.raises(CheckpointError) as failure:
        load_latest_checkpoint(path)
    assert "run.h5: there is no such file" in str(failure.value)
    assert "run.h5.previous: there is no such file" in str(failure.value)
    assert "Start again" in str(failure.value)
    save_checkpoint(path, *state())
    os.rename(path, previous_path(path))
    assert checkpoint_exists(path)
    assert load_latest_checkpoint(path)[2] == previous_path(path)


def test_a_file_of_another_format_is_refused(tmp_path):
    with h5py.File(tmp_path / "run.h5", "w") as file:
        file.attrs["format"] = "dptt-volume"
    with pytest.raises(CheckpointError, match="attribute format is 'dptt-volume'; expected 'dptt-checkpoint'"):
        load_checkpoint(tmp_path / "run.h5")


WRITER = """
import sys, numpy as np
from dptt.io.checkpoint import save_checkpoint
epoch = int(sys.argv[2])
while True:
    epoch += 1
    volume = np.full((50, 101, 103), epoch, np.float32)
    save_checkpoint(sys.argv[1], {}, {"epoch": epoch}, {"volume": volume})
    print(epoch, flush=True)
"""


@pytest.mark.slow
def test_kill_9_at_any_moment_leaves_a_complete_checkpoint(tmp_path):
    path, epoch = tmp_path / "run.h5", 0
    random = np.random.default_rng(1)
    for _ in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(epoch)], stdout=subprocess.PIPE, text=True
        )
        reported = int(writer.stdout.readline())  # one is written; the next is on its way
        time.sleep(random.uniform(0.0, 0.03))
        writer.send_signal(signal.SIGKILL)
        rest = writer.communicate()[0].split()
        reported = max([reported, *map(int, rest)])
        arrays, attributes, _ = load_latest_checkpoint(path)
        epoch = attributes["epoch"]
        assert epoch >= reported - 1  # at worst one step back, never half a file
        np.testing.assert_array_equal(arrays["volume"], np.full((50, 101, 103), epoch, np.float32))


KILLED_WRITER = """
import os, signal, sys, numpy as np
from dptt.io.checkpoint import save_checkpoint
calls, replace = [], os.replace
def replace_or_die(source, target):
    calls.append(target)
    if len(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = replace_or_die
save_checkpoint(sys.argv[1], {"volume": np.zeros(3)}, {"epoch": 3})
"""


@pytest.mark.parametrize("call", [1, 2], ids=["before the old file moves", "between the two renames"])
def test_kill_9_at_either_rename_loses_nothing_but_the_new_checkpoint(tmp_path, call):
    path = tmp_path / "run.h5"
    for epoch in (1, 2):
        save_checkpoint(path, *state(epoch))
    killed = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(path), str(call)])
    assert killed.returncode == -signal.SIGKILL
    assert load_latest_checkpoint(path)[1]["epoch"] == 2
    save_checkpoint(path, *state(4))
    assert load_latest_checkpoint(path)[1]["epoch"] == 4
    assert load_checkpoint(previous_path(path))[1]["epoch"] == 2
