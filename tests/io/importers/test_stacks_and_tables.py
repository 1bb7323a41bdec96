"""Stacks in MRC files and numbers in text files are arrays like others, and what is not one is refused."""

import struct

import mrcfile
import numpy as np
import pytest

from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.description import ArraySource
from dptt.io.importers.foreign_array import open_array

RANDOM = np.random.default_rng(5)
STACK = RANDOM.integers(0, 100, (3, 5, 4))


def read(path, *index):
    with open_array(ArraySource(str(path), index=index)) as array:
        return array.read_all()


def write_mrc(path, values, **header):
    with mrcfile.new(path) as file:
        file.set_data(values)
        for name, value in header.items():
            file.header[name] = value
    return path


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.uint16, np.float32, np.float16])
@pytest.mark.parametrize("suffix", [".mrc", ".st", ".MRC"])
def test_a_stack_is_read_in_its_own_type(tmp_path, kind, suffix):
    values = read(write_mrc(tmp_path / f"stack{suffix}", STACK.astype(kind)))
    assert values.dtype == kind
    np.testing.assert_array_equal(values, STACK)


def test_an_index_picks_a_section(tmp_path):
    np.testing.assert_array_equal(read(write_mrc(tmp_path / "a.mrc", STACK.astype(np.int16)), 2), STACK[2])


def test_a_stack_of_the_other_byte_order_is_read(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", STACK.astype(np.int16))
    data = bytearray(path.read_bytes())
    for start in (*range(0, 208, 4), *range(216, 224, 4)):
        data[start : start + 4] = data[start : start + 4][::-1]
    data[1024:] = STACK.astype(">i2").tobytes()
    data[212:216] = b"\x11\x11\0\0"
    path.write_bytes(data)
    np.testing.assert_array_equal(read(path), STACK)


@pytest.mark.parametrize(("flags", "signed"), [(0, False), (1, True), (8, False), (9, True)])
def test_bytes_of_imod_have_a_sign_only_if_their_header_says_so(tmp_path, flags, signed):
    path = write_mrc(tmp_path / "a.st", (STACK * 2).astype(np.uint8).view(np.int8))
    data = bytearray(path.read_bytes())
    struct.pack_into("<ii", data, 152, 1146047817, flags)
    path.write_bytes(data)
    expected = (STACK * 2).astype(np.uint8)
    np.testing.assert_array_equal(read(path), expected.view(np.int8) if signed else expected)


@pytest.mark.parametrize("damage", [lambda d: d[:-7], lambda d: d[:600], lambda d: b"", lambda d: b"\xff" * len(d)])
def test_a_damaged_stack_is_refused(tmp_path, damage):
    path = write_mrc(tmp_path / "a.mrc", STACK.astype(np.int16))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ImportDescriptionError, match="cannot be read as MRC"):
        read(path)


def test_a_stack_whose_columns_are_not_x_is_refused(tmp_path):
    with pytest.raises(ImportDescriptionError, match=r"has the axes \(2, 1, 3\)"):
        read(write_mrc(tmp_path / "a.mrc", STACK.astype(np.int16), mapc=2, mapr=1))


@pytest.mark.parametrize("suffix", [".tlt", ".rawtlt", ".txt", ".csv", ".TLT"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_angles_are_read_one_a_line(tmp_path, suffix, end):
    path = tmp_path / f"angles{suffix}"
    path.write_bytes(end.join(["# degrees", "  -60.00", "0", "", "45.5   ", ""]).encode())
    np.testing.assert_array_equal(read(path), [-60, 0, 45.5])


@pytest.mark.parametrize("separator", [" ", "\t", ",", ", ", ";"])
def test_columns_are_read_whatever_separates_them(tmp_path, separator):
    path = tmp_path / "a.csv"
    path.write_text("\n".join(separator.join(row) for row in (("1", "2.5"), ("-3", "4e1"), ("5", "6"))))
    np.testing.assert_array_equal(read(path), [[1, 2.5], [-3, 40], [5, 6]])
    np.testing.assert_array_equal(read(path, 1), [-3, 40])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("angle\n1\n2\n", "line 1 is 'angle'; expected finite numbers"),
        ("1\n2 3\n4\n", "line 2 is '2 3'; expected finite numbers, 1 as in the first line"),
        ("1\nnan\n", "line 2 is 'nan'"),
        ("1\n1_0\n", "line 2 is '1_0'"),
        ("1\n,\n", "line 2 is ','"),
        ("# nothing\n", "is empty"),
        ("", "is empty"),
    ],
)
def test_text_that_is_no_table_of_numbers_is_refused_with_its_lines(tmp_path, text, said):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(ImportDescriptionError, match=said):
        read(tmp_path / "a.txt")


@pytest.mark.parametrize("name", ["a.mrc", "a.txt", "a.npy", "a.npz", "a.h5"])
def test_a_missing_file_is_refused(tmp_path, name):
    with pytest.raises(ImportDescriptionError, match="a[.]"):
        read(tmp_path / name)


def test_elements_that_are_no_numbers_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array(["-60", "0"]))
    with pytest.raises(ImportDescriptionError, match="holds elements of type <U3; expected numbers"):
        read(tmp_path / "a.npy")


def test_the_suffix_may_be_in_capitals(tmp_path):
    np.save(tmp_path / "a.npy", STACK)
    (tmp_path / "a.npy").rename(tmp_path / "A.NPY")
    np.testing.assert_array_equal(read(tmp_path / "A.NPY"), STACK)
