"""Files that other programs wrote are recognised by their content, and say what they know."""

import builtins
import importlib
import struct
import sys

import foreign_files as foreign
import numpy as np
import pytest
import tifffile
from foreign_files import COUNTS, ENERGY, FREQUENCIES, SEMIANGLE, SHAPE, STEPS, TILT

from dptt.io.errors import ImportDescriptionError
from dptt.io.importers import recognise
from dptt.io.importers.recognition import open_foreign

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries that write the files

RASTER, LIST = ("scan_y", "scan_x", "ky", "kx"), ("position", "ky", "kx")
ALL = dict(
    energy=ENERGY, semiangle_cutoff=SEMIANGLE, scan_step=STEPS, reciprocal_sampling=FREQUENCIES, tilt_angle=TILT
)
AXES_ONLY = dict(scan_step=STEPS, reciprocal_sampling=FREQUENCIES)
EXPECTED = {
    foreign.write_hspy: ("HyperSpy (.hspy)", RASTER, ALL),
    foreign.write_zspy: ("zarr", RASTER, ALL),
    foreign.write_velox: (
        "Velox (.emd)",
        LIST,
        {name: value for name, value in ALL.items() if name != "scan_step"} | dict(camera="Ceta"),
    ),
    foreign.write_ncem: ("EMD (NCEM, py4DSTEM)", RASTER[::-1], AXES_ONLY),
    foreign.write_py4dstem: ("EMD (NCEM, py4DSTEM)", RASTER, AXES_ONLY),
    foreign.write_nexus: ("NeXus", RASTER, ALL),
    foreign.write_dectris: (
        "Dectris master file",
        RASTER,
        dict(energy=ENERGY, scan_step=STEPS, camera="Dectris ARINA"),
    ),
    foreign.write_matlab_5: ("MATLAB v5", (), {}),
    foreign.write_matlab_7_3: ("MATLAB v7.3", (), {}),
    foreign.write_tiff: ("TIFF", LIST, {}),
    foreign.write_tiff_pages: ("TIFF", LIST, {}),
    foreign.write_mrc: ("MRC", LIST, {}),
    foreign.write_zarr: ("zarr", (), {}),
    foreign.write_zarr_zip: ("zarr", (), {}),
    foreign.write_numpy: ("NumPy (.npy, .npz)", (), {}),
    foreign.write_merlin: ("Merlin (.mib)", RASTER, {}),
    foreign.write_dm3: ("DigitalMicrograph (.dm3, .dm4)", RASTER, AXES_ONLY | dict(energy=ENERGY, tilt_angle=TILT)),
    foreign.write_dm4: ("DigitalMicrograph (.dm3, .dm4)", RASTER, AXES_ONLY | dict(energy=ENERGY, tilt_angle=TILT)),
}
FIELDS = (
    "energy",
    "semiangle_cutoff",
    "scan_step",
    "angular_sampling",
    "reciprocal_sampling",
    "tilt_angle",
    "camera",
)


def facts(metadata) -> dict:
    return {name: getattr(metadata, name) for name in FIELDS if getattr(metadata, name) is not None}


def approximately(expected: dict):
    return {k: v if isinstance(v, str) else pytest.approx(v, rel=1e-6) for k, v in expected.items()}


@pytest.mark.parametrize("write", EXPECTED, ids=lambda write: write.__name__.removeprefix("write_"))
def test_a_file_is_recognised_with_its_axes_and_calibration_and_its_patterns_are_exact(tmp_path, write):
    kind, axes, expected = EXPECTED[write]
    path = write(tmp_path)
    other = path.rename(tmp_path / "unnamed") if path.suffix not in (".mib", ".npy", ".h5") else path
    what = recognise(other)
    assert (what.kind, what.axes, what.dtype.kind) == (kind, axes, "u")
    assert facts(what.metadata) == approximately(expected)
    with open_foreign(other) as data:
        everything = np.asarray(data.array[(slice(None),) * len(what.shape)])
        row = np.asarray(data.array[(slice(1, 2), *(slice(None),) * (len(what.shape) - 1))])
    assert everything.shape == what.shape
    np.testing.assert_array_equal(row, everything[1:2])
    everything = everything.T if axes == RASTER[::-1] else everything
    np.testing.assert_array_equal(everything.reshape(SHAPE), COUNTS)


def test_a_blockfile_says_its_energy_and_step(tmp_path):
    what = recognise(foreign.write_blockfile(tmp_path))
    assert (what.kind, what.shape, what.axes) == ("blockfile (.blo)", (3, 4, 5, 5), RASTER)
    assert facts(what.metadata) == approximately(dict(energy=ENERGY, scan_step=STEPS))
    with open_foreign(what.path) as data:
        np.testing.assert_array_equal(np.asarray(data.array), COUNTS[..., :5, :])


def test_a_blockfile_whose_head_tells_of_more_than_it_has_is_refused_at_once(tmp_path):
    """RosettaSciIO lists every chunk of the 3e9 patterns first."""
    path = foreign.write_blockfile(tmp_path)
    data = bytearray(path.read_bytes())
    place = data.index(struct.pack("<2H", 4, 3), 6)  # columns and rows of the scan
    data[place : place + 4] = struct.pack("<2H", 60000, 50000)
    path.write_bytes(data)
    refused(path, "its head tells of 75000000000 bytes of patterns, the file has")


def test_empad_is_read_without_its_two_rows_that_are_no_pixels(tmp_path):
    raw = foreign.write_empad(tmp_path)
    rows = np.fromfile(raw, np.float32).reshape(2, 3, 130, 128)
    for path in (raw, raw.with_suffix(".xml")):
        what = recognise(path)
        assert (what.kind, what.shape, what.axes) == ("EMPAD", (2, 3, 128, 128), RASTER)
        sampling = (FREQUENCIES[0],) * 2  # one number for both axes; 1.5 Å over 3 positions
        expected = dict(energy=ENERGY, scan_step=(0.5, 0.5), reciprocal_sampling=sampling, camera="EMPAD")
        assert facts(what.metadata) == approximately(expected)
        with open_foreign(path) as data:
            np.testing.assert_array_equal(data.array, rows[:, :, :128])


@pytest.mark.parametrize(
    ("name", "patterns", "shape"),
    [("scan_x3_y2.raw", 6, (2, 3, 128, 128)), ("a.raw", 9, (3, 3, 128, 128)), ("b.raw", 6, (6, 128, 128))],
)
def test_empad_without_xml_has_the_scan_of_its_name_or_a_square_one(tmp_path, name, patterns, shape):
    np.zeros((patterns, 130, 128), np.float32).tofile(tmp_path / name)
    what = recognise(tmp_path / name)
    assert what.shape == shape and what.metadata.scan_step is None


def test_empad_g2_has_128_rows_and_an_angle_between_pixels(tmp_path):
    what = recognise(foreign.write_empad_g2(tmp_path))
    assert what.shape == (2, 3, 128, 128)
    assert facts(what.metadata) == approximately(dict(energy=300e3, angular_sampling=(0.5, 0.5), camera="EMPAD-G2"))


def refused(path, *words) -> None:
    with pytest.raises(ImportDescriptionError) as failure:
        recognise(path)
    for word in words:
        assert word in str(failure.value)


def test_empad_files_that_contradict_their_xml_or_are_not_decoded_are_refused(tmp_path):
    raw = foreign.write_empad(tmp_path)
    raw.write_bytes(raw.read_bytes()[: 4 * 130 * 128 * 4])
    refused(raw, "has 4 patterns", "2 x 3 (y, x)")
    words = np.full((4, 128, 128), 0x7F000000, np.uint32)
    words.tofile(tmp_path / "g2.raw")
    refused(tmp_path / "g2.raw", "numbers that are not counts", "Export the patterns")
    raw.unlink()
    refused(raw.with_suffix(".xml"), "names scan.raw, which is not beside it")


def test_a_dectris_master_file_whose_patterns_are_missing_names_them(tmp_path):
    master = foreign.write_dectris(tmp_path)
    (tmp_path / "scan_data_000002.h5").unlink()
    refused(master, "links to scan_data_000002.h5", "beside it")


def test_a_tiff_page_whose_tags_ask_for_strips_that_are_not_there_is_refused_at_once(tmp_path):
    """Tifffile looks for each of them, for minutes, and puts zeros in their place."""
    path = foreign.write_tiff_pages(tmp_path)
    with tifffile.TiffFile(path) as file:
        tag = file.pages[3].tags["ImageLength"]
        place, code = tag.valueoffset, {3: "H", 4: "I"}[tag.dtype]
    with path.open("r+b") as stream:
        stream.seek(place)
        stream.write(struct.pack(f"<{code}", 60000))
    with (
        open_foreign(path) as data,
        pytest.raises(ImportDescriptionError, match="page 3 .* has 1 of 6?0?000 strips|of"),
    ):
        np.asarray(data.array[:])


def test_a_file_of_no_known_format_is_refused_with_what_is_known(tmp_path):
    (tmp_path / "notes.bin").write_bytes(b"hello, world")
    refused(tmp_path / "notes.bin", "no known format", "b'hello, w'", "Merlin", "EMPAD")
    refused(tmp_path, "is a folder without a zarr store")


@pytest.mark.parametrize(
    ("write", "missing"),
    [
        (foreign.write_merlin, "rsciio.quantumdetector"),
        (foreign.write_tiff, "tifffile"),
        (foreign.write_zarr, "zarr"),
    ],
    ids=["merlin", "tiff", "zarr"],
)
def test_a_missing_library_is_named_with_how_to_install_it(tmp_path, monkeypatch, write, missing):
    path = write(tmp_path)
    real = importlib.import_module

    def without(name, package=None):
        if name == missing:
            raise ImportError(f"No module named {name!r}")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    refused(path, missing, "pip install 'dptt[formats]'")


def test_no_library_of_a_format_is_imported_before_such_a_file_is_opened(tmp_path, monkeypatch):
    names = ("rsciio", "zarr", "tifffile", "hdf5plugin", "dask")
    real = builtins.__import__
    asked: list[str] = []

    def watched(name, *rest):
        asked.append(name.split(".")[0])
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", watched)
    recognise(foreign.write_numpy(tmp_path))
    recognise(foreign.write_empad(tmp_path))
    assert not set(asked) & set(names)
    importers = [name for name in sys.modules if name.startswith("dptt.io.importers")]
    tops = {name for module in importers for name in vars(sys.modules[module])}
    assert not tops & set(names)
