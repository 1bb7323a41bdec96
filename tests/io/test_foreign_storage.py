"""What other programs store otherwise: byte orders, unusual types, arrays whose parts lie in other files."""

import sys

import h5py
import numpy as np
import pytest
import torch

from dptt.io.dataset import TiltSeries
from dptt.io.dataset_writer import write_tilt_series
from dptt.io.errors import DatasetError, ImportDescriptionError
from dptt.io.hdf5_file import damage_reported, naming
from dptt.io.importers.description import ArraySource
from dptt.io.importers.foreign_array import open_array
from dptt.io.importers.recognition import recognise
from dptt.io.series_data import ExternalPatterns, SeriesHeader, TiltData

COUNTS = np.arange(6 * 4 * 5).reshape(6, 4, 5)


def linked(folder):
    """Return a series of one tilt that links to the dataset `counts` of raw.h5."""
    tilt = TiltData(ExternalPatterns("raw.h5", "counts"), np.zeros((6, 2)), (0.0, 5.0, 0.0), (0.0, 0.0))
    write_tilt_series(folder / "series.h5", SeriesHeader(300e3, 21.0, (2.0, 2.0), {}), [tilt])
    return folder / "series.h5"


@pytest.mark.parametrize("dtype", [">u2", ">u4", ">i4", ">f4", "<f8", ">f8", "<f2", np.longdouble, ">i8"])
def test_linked_patterns_of_any_type_reach_torch_with_their_values(tmp_path, dtype):
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["counts"] = COUNTS.astype(dtype)
    with TiltSeries.open(linked(tmp_path)) as series:
        patterns = series.tilts[0].read(np.array([4, 0]))
        assert patterns.dtype == series.tilts[0].dtype
        np.testing.assert_array_equal(torch.from_numpy(patterns).double().numpy(), COUNTS[[4, 0]])


def virtual(folder, parts=3):
    """Write raw.h5, whose dataset `counts` is made of part0.h5, part1.h5, ... in a folder beside it."""
    (folder / "parts").mkdir()
    layout = h5py.VirtualLayout((6, 4, 5), np.int64)
    for number, block in enumerate(np.array_split(COUNTS, parts)):
        with h5py.File(folder / f"parts/part{number}.h5", "w") as file:
            file["data"] = block
        source = h5py.VirtualSource(f"parts/part{number}.h5", "data", block.shape)
        layout[number * len(block) : (number + 1) * len(block)] = source
    with h5py.File(folder / "raw.h5", "w") as file:
        file.create_virtual_dataset("counts", layout)
    return folder / "raw.h5"


def remove(path):
    path.unlink()


def rename_the_data(path):
    with h5py.File(path, "r+") as file:
        file.move("data", "other")


def shorten(path):
    with h5py.File(path, "r+") as file:
        data = file["data"][:1]
        del file["data"]
        file["data"] = data


def move_its_own_part(path):
    """Make the part virtual itself, and remove what it is made of."""
    with h5py.File(path, "r+") as file:
        layout = h5py.VirtualLayout((2, 4, 5), np.int64)
        layout[:] = h5py.VirtualSource("gone.h5", "data", (2, 4, 5))
        del file["data"]
        file.create_virtual_dataset("data", layout)


DAMAGE = {
    remove: "parts/part1.h5, which is missing",
    rename_the_data: "data in parts/part1.h5, which is missing",
    shorten: r"data in parts/part1.h5, which has the shape \(1, 4, 5\) only",
    move_its_own_part: "gone.h5, which is missing",
}


def test_a_virtual_dataset_with_all_its_parts_is_read(tmp_path):
    with open_array(ArraySource(str(virtual(tmp_path)), "counts")) as array:
        np.testing.assert_array_equal(array.read_all(), COUNTS)
    with TiltSeries.open(linked(tmp_path)) as series:
        np.testing.assert_array_equal(series.tilts[0].read(slice(None)), COUNTS)


@pytest.mark.parametrize("damage", DAMAGE)
def test_missing_parts_of_a_virtual_dataset_are_refused_by_name_instead_of_read_as_zeros(tmp_path, damage):
    raw, series = virtual(tmp_path), linked(tmp_path)
    damage(tmp_path / "parts/part1.h5")
    with pytest.raises(ImportDescriptionError, match=f"counts takes its numbers from {DAMAGE[damage]}.*Copy"):
        with open_array(ArraySource(str(raw), "counts")):
            pass
    with pytest.raises(DatasetError, match=f"tilts/0000/data takes its numbers from {DAMAGE[damage]}"):
        TiltSeries.open(series)


def test_a_virtual_dataset_whose_parts_are_in_its_own_file_is_read(tmp_path):
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["stored"] = COUNTS
        layout = h5py.VirtualLayout(COUNTS.shape, np.int64)
        layout[:] = h5py.VirtualSource(file["stored"])
        file.create_virtual_dataset("counts", layout)
    with open_array(ArraySource(str(tmp_path / "raw.h5"), "counts")) as array:
        np.testing.assert_array_equal(array.read_all(), COUNTS)


@pytest.mark.parametrize(
    ("installed", "cure"),
    [(True, "which hdf5plugin does not have either. Save it with gzip"), (False, r"pip install 'dptt\[formats\]'")],
)
def test_a_filter_that_is_not_there_is_named_with_the_cure_also_behind_a_link(tmp_path, monkeypatch, installed, cure):
    if not installed:
        monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((1, 4, 5))
    properties.set_filter(32999, h5py.h5z.FLAG_OPTIONAL)
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        space = h5py.h5s.create_simple(COUNTS.shape)
        h5py.h5d.create(file.id, b"counts", h5py.h5t.NATIVE_INT64, space, dcpl=properties)
    with pytest.raises(ImportDescriptionError, match=rf"counts is compressed with filter 32999.*{cure}"):
        with open_array(ArraySource(str(tmp_path / "raw.h5"), "counts")):
            pass
    with pytest.raises(DatasetError, match=rf"tilts/0000/data is compressed with filter 32999.*{cure}"):
        TiltSeries.open(linked(tmp_path))


@pytest.mark.parametrize(("module", "raised"), [("tifffile.tifffile", DatasetError), ("dptt.io.x", AssertionError)])
def test_a_failed_assertion_of_a_library_is_damage_and_one_of_dptt_a_fault_of_the_program(module, raised):
    code: dict = {"__name__": module}
    exec("def read(): assert False, 'no dtype'", code)
    with pytest.raises(raised, match="no dtype"), damage_reported("scan.tif", DatasetError), naming("page 3"):
        code["read"]()


def test_numbers_of_a_type_that_numpy_lacks_are_refused(tmp_path):
    of_3_bytes = h5py.h5t.STD_U32LE.copy()
    of_3_bytes.set_precision(24)
    of_3_bytes.set_size(3)
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        h5py.h5d.create(file.id, b"counts", of_3_bytes, h5py.h5s.create_simple((6, 4, 5)))
    for dataset in (None, "counts"):
        with pytest.raises(ImportDescriptionError, match=r"raw\.h5.*<u3"):
            recognise(tmp_path / "raw.h5", dataset)
