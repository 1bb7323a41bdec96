"""Files that make a library crash, or run for ever, end neither this process nor its patience."""

import os
import signal
import time
from contextlib import suppress

import foreign_files
import h5py
import numpy as np
import pytest

from dptt.io.errors import ImportDescriptionError
from dptt.io.importers import foreign_array, trial
from dptt.io.importers.description import ArraySource
from dptt.io.importers.foreign_array import open_array
from dptt.io.importers.formats.stempy import Events
from dptt.io.importers.recognition import recognise
from dptt.io.importers.trial import try_reading


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def run_for_ever() -> None:
    while True:
        pass


def refuse() -> None:
    raise ValueError("this process will say so itself")


@pytest.mark.parametrize(
    ("read", "said", "patience"),
    [(crash, "crashed: Segmentation fault", 20.0), (run_for_ever, "has not ended after 0.2 s", 0.2)],
)
def test_what_a_file_does_to_its_library_is_said_each_time(tmp_path, monkeypatch, read, said, patience):
    monkeypatch.setattr(trial, "PATIENCE", patience)
    (tmp_path / "file.h5").touch()
    begun = time.monotonic()
    for _ in range(2):
        with pytest.raises(ImportDescriptionError, match=rf"file\.h5: is damaged \(the library that reads it {said}"):
            try_reading(tmp_path / "file.h5", read)
    assert time.monotonic() - begun < 10


def test_a_file_is_tried_as_long_as_it_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "PATIENCE", 1.0)
    (tmp_path / "file.h5").touch()

    def steps(last: float):
        for pause in (0.4, 0.4, 0.4, last):
            time.sleep(pause)
            yield

    try_reading(tmp_path / "file.h5", lambda: steps(0.0))
    with pytest.raises(ImportDescriptionError, match="has not ended after 1 s"):
        try_reading(tmp_path / "file.h5", lambda: steps(30.0), purpose="another")


def test_lists_of_electrons_that_cannot_be_read_to_an_end_are_refused(tmp_path, monkeypatch):
    """HDF5 searches for ever in a damaged list; the rest of the file may be sound."""
    path = foreign_files.write_stempy(tmp_path)
    with open_array(ArraySource(str(path))) as array:
        assert array.read_all().sum() == foreign_files.COUNTS.sum(dtype=int)
    os.utime(path, (0, 0))  # another file, which has not been tried
    monkeypatch.setattr(Events, "_lists", lambda *arguments: run_for_ever())
    with open_array(ArraySource(str(path))) as array:  # with all patience: the machine may be busy
        monkeypatch.setattr(trial, "PATIENCE", 0.3)
        with pytest.raises(ImportDescriptionError, match="has not ended"):
            array.read_all()


def test_what_a_plugin_decompresses_is_tried_before_it_is_read_and_nothing_else_is(tmp_path, monkeypatch):
    """Bitshuffle trusts the sizes in a chunk."""
    master, plain = foreign_files.write_dectris(tmp_path), foreign_files.write_nexus(tmp_path)
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((7, *foreign_files.SHAPE[2:]), np.uint16)
        layout[:] = h5py.VirtualSource(tmp_path / "scan_data_000001.h5", "entry/data/data", layout.shape)
        file.create_virtual_dataset("a", layout)
    for path in (master, plain, tmp_path / "virtual.h5"):
        with open_array(ArraySource(str(path))) as array:
            assert array.read_all().any()
    monkeypatch.setattr(trial, "_sound", set())
    monkeypatch.setattr(foreign_array, "_blocks", lambda dataset: crash())
    for path in (master, tmp_path / "virtual.h5"):
        with open_array(ArraySource(str(path))) as array, pytest.raises(ImportDescriptionError, match="crashed"):
            array.read_all()
    with open_array(ArraySource(str(plain))) as array:
        assert array.read_all().any()


@pytest.mark.parametrize("byte", range(12))
def test_a_wrong_size_in_a_chunk_of_bitshuffle_never_ends_this_process(tmp_path, byte):
    master = foreign_files.write_dectris(tmp_path)
    part = tmp_path / "scan_data_000001.h5"
    with h5py.File(part) as file:
        start = file["entry/data/data"].id.get_chunk_info(3).byte_offset
    with part.open("r+b") as stream:
        stream.seek(start + byte)
        stream.write(b"\x7f")
    with open_array(ArraySource(str(master))) as array, suppress(ImportDescriptionError):
        array.read_all()


def test_a_sound_or_refused_file_is_tried_once_until_it_changes(tmp_path):
    path, count = tmp_path / "file.h5", tmp_path / "count"
    path.touch()

    def read() -> None:
        with count.open("a") as file:
            file.write("x")
        refuse()

    for _ in range(3):
        try_reading(path, read)
    assert count.read_text() == "x", "in a child, and once"
    path.write_text("changed")
    try_reading(path, read)
    assert count.read_text() == "xx"


def test_a_damaged_size_that_makes_scipy_end_the_process_is_refused(tmp_path):
    path = foreign_files.write_matlab_5(tmp_path)
    sound, crashed = path.read_bytes(), []
    for bit in range(8):
        data = bytearray(sound)
        data[184] ^= 1 << bit  # within the head of the first variable
        path.write_bytes(data)
        try:
            recognise(path)
        except ImportDescriptionError as failure:
            crashed.append("crashed" in str(failure))
    assert crashed
