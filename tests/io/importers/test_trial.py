"""Files that make a library crash, or run for ever, end neither this process nor its patience."""

import os
import signal
import time

import foreign_files
import pytest

from dptt.io.errors import ImportDescriptionError
from dptt.io.importers import trial
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
    ("read", "said"), [(crash, "crashed: Segmentation fault"), (run_for_ever, "has not ended after 0.2 s")]
)
def test_what_a_file_does_to_its_library_is_said_each_time(tmp_path, monkeypatch, read, said):
    monkeypatch.setattr(trial, "PATIENCE", 0.2)
    (tmp_path / "file.h5").touch()
    begun = time.monotonic()
    for _ in range(2):
        with pytest.raises(ImportDescriptionError, match=rf"file\.h5: is damaged \(the library that reads it {said}"):
            try_reading(tmp_path / "file.h5", read)
    assert time.monotonic() - begun < 10


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
