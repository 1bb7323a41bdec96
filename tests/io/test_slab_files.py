"""Rows of an array in a file are written and read by whoever holds them, in pieces, with nothing else touched."""

import errno
import resource
import signal

import h5py
import numpy as np
import pytest

from dptt.io import disk_space, slab_files
from dptt.io.disk_space import create_with_space, reserve_space
from dptt.io.hdf5_writing import create_file
from dptt.io.slab_files import allocate_rows, open_for_rows, pieces, read_rows, write_rows

VALUES = np.random.default_rng(0).normal(size=(3, 11, 5)) + 1j


@pytest.fixture
def path(tmp_path):
    """A file with the place for `VALUES`."""
    with create_file(tmp_path / "file.h5") as file:
        allocate_rows(file, "group/volume", VALUES.shape, VALUES.dtype)
    return tmp_path / "file.h5"


@pytest.mark.parametrize("row_bytes", [1, 100, 10**9])
@pytest.mark.parametrize("rows", [range(0), range(7), range(3, 14)])
def test_pieces_are_all_rows_in_order_and_at_least_one_piece(monkeypatch, rows, row_bytes):
    monkeypatch.setattr(slab_files, "PIECE_BYTES", 300)
    parts = pieces(rows, row_bytes)
    assert [row for part in parts for row in part] == list(rows)
    assert parts and all(len(part) <= max(1, 300 // row_bytes) for part in parts)


@pytest.mark.parametrize("piece_bytes", [1, 500, 2**26])
def test_rows_written_in_any_order_are_the_array(monkeypatch, path, piece_bytes):
    monkeypatch.setattr(slab_files, "PIECE_BYTES", piece_bytes)
    for rows in (range(6, 11), range(0, 4), range(4, 4), range(4, 6)):
        write_rows(path, "group/volume", VALUES[:, rows.start : rows.stop], rows.start)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["group/volume"][()], VALUES)
    with open_for_rows(path, "r") as file:
        for rows in (range(0, 11), range(3, 8), range(11, 11)):
            np.testing.assert_array_equal(read_rows(file["group/volume"], rows), VALUES[:, rows.start : rows.stop])


def test_strided_rows_are_written_as_they_are(path):
    turned = np.ascontiguousarray(VALUES.T).T
    assert not turned[:, 2:7].flags.c_contiguous
    write_rows(path, "group/volume", turned[:, 2:7], 2)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["group/volume"][:, 2:7], VALUES[:, 2:7])


def test_the_place_of_the_rows_is_taken_when_the_file_is_made(path):
    """Several processes that write one file could not agree on where it ends."""
    with h5py.File(path) as file:
        offset = file["group/volume"].id.get_offset()
        assert file["group/volume"].chunks is None
    assert path.stat().st_size >= offset + VALUES.nbytes


def test_room_is_taken_and_not_only_promised(tmp_path):
    with create_with_space(tmp_path / "file.h5", 2**20) as file:
        allocate_rows(file, "volume", (1, 2**10, 2**10), np.dtype(np.uint8))
    found = (tmp_path / "file.h5").stat()
    assert found.st_blocks * 512 >= found.st_size > 2**20
    with h5py.File(tmp_path / "file.h5") as file:
        assert file["volume"].shape == (1, 2**10, 2**10)


@pytest.mark.parametrize("allocates", [True, False], ids=["in advance", "by trial"])
def test_too_little_room_is_said_by_the_system_before_hdf5_begins(tmp_path, monkeypatch, allocates):
    if not allocates:
        monkeypatch.setattr(disk_space, "_allocate", lambda descriptor, size: errno.EOPNOTSUPP)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            reserve_space(tmp_path / "file.h5", 200_000)
        reserve_space(tmp_path / "small.h5", 50_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert (tmp_path / "small.h5").stat().st_size == 50_000
