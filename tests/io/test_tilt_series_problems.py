# ruff: noqa: E501  (the table of faults reads best with one fault a line)
"""Every fault of a tilt-series file is reported, all of them at once, with what was found and what to do."""

import os

import h5py
import numpy as np
import pytest

from dptt.io.dataset import TiltSeries
from dptt.io.dataset_writer import write_tilt_series
from dptt.io.errors import DatasetError
from dptt.io.series_data import ElectronEvents, SeriesHeader, TiltData
from dptt.io.truth import TrueTilt, Truth


@pytest.fixture
def series(tmp_path):
    """Path of a sound series: a dense tilt, one of events, truth."""
    positions = np.zeros((6, 2))
    tilts = [
        TiltData(np.ones((2, 3, 5, 4), np.uint8), positions, (0.0, 1.0, 0.0)),
        TiltData(ElectronEvents(np.arange(12), np.arange(0, 14, 2), (5, 4)), positions, (0.0, 2.0, 0.0)),
    ]
    truth = Truth(
        np.zeros((3, 4, 5), np.float32), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.zeros((2, 3)), np.array([1, 2]),
        (TrueTilt("0000", (0.0, 1.0, 0.0), (0.0, 0.0), positions),),
    )  # fmt: skip
    write_tilt_series(tmp_path / "series.h5", SeriesHeader(300e3, 21.0, (2.0, 2.0)), tilts, truth)
    return tmp_path / "series.h5"


def problems(path) -> tuple[str, ...]:
    with pytest.raises(DatasetError) as failure:
        TiltSeries.open(path)
    assert str(failure.value).startswith(str(path))
    return failure.value.problems


def replace(group, name, value):
    del group[name]
    group[name] = value


DENSE, EVENTS = "tilts/0000", "tilts/0001"
FAULTS = {
    "format is missing": (lambda f: f.attrs.pop("format"), "attribute format is None; expected 'dptt-tilt-series'"),
    "format is another": (lambda f: f.attrs.update(format="emd"), "is 'emd'; expected 'dptt-tilt-series'. Convert it"),
    "version is newer": (lambda f: f.attrs.update(version=2), "expected 1 to 1. Update dptt"),
    "version is text": (lambda f: f.attrs.update(version="1"), "attribute version is '1'; expected 1 to 1"),
    "energy is missing": (lambda f: f.attrs.pop("energy_eV"), "has no attribute energy_eV; expected 1 finite positive"),
    "cutoff is NaN": (lambda f: f.attrs.update(semiangle_cutoff_mrad=np.nan), "semiangle_cutoff_mrad is nan"),
    "one sampling": (lambda f: f.attrs.update(angular_sampling_mrad=2.0), "expected 2 finite positive numbers [mrad"),
    "energy absurd": (lambda f: f.attrs.update(energy_eV=1e-300), "energy_eV is 1e-300; expected 1 finite positive"),
    "energy overflows": (lambda f: f.attrs.update(energy_eV=1e300), "number [eV] from 10 to 1e+08. Correct it"),
    "cutoff beyond": (lambda f: f.attrs.update(semiangle_cutoff_mrad=1600.0), "number [mrad] from 0.001 to 1571"),
    "sampling absurd": (lambda f: f.attrs.update(angular_sampling_mrad=[1.0, 1e-9]), "[mrad (y, x)] from 1e-06 to"),
    "turns": (lambda f: f[DENSE].attrs.update(theta_deg=1e6), "theta_deg is 1000000.0; expected 1 finite number [deg]"),
    "psi overflows": (lambda f: f[DENSE].attrs.update(psi_deg=-1e300), "number [deg] from -360 to 360"),
    "translation far": (lambda f: f[DENSE].attrs.update(translation_A=[0, 1e9]), "numbers [Å (y, x)] from -1e+08 to"),
    "lens absurd": (lambda f: f[DENSE].attrs.update(C30_A=1e30), "C30_A is 1e+30; expected 1 finite number [A] from"),
    "gain absurd": (lambda f: f[DENSE].attrs.update(counts_per_electron=1e-30), "number [counts] from 1e-09 to 1e+09"),
    "position far": (
        lambda f: f[DENSE]["scan_positions"].write_direct(np.array([[0, 0]] * 5 + [[1e9, 0.0]])),
        "scan_positions has 1 rows that are not finite or beyond ±1e+08 Å, the first is 5",
    ),
    "energy is text": (lambda f: f.attrs.update(energy_eV="300 kV"), "energy_eV is '300 kV'; expected 1 finite"),
    "defocus": (lambda f: f.attrs.update(defocus_A=3.0), "defocus_A is not known; expected C10_A, "),
    "aberration unknown": (lambda f: f[DENSE].attrs.update(C50_A=3.0), "tilts/0000: attribute C50_A is not known"),
    "aberration is NaN": (lambda f: f[DENSE].attrs.update(C10_A=np.nan), "tilts/0000: attribute C10_A is nan"),
    "tilts missing": (lambda f: f.pop("tilts"), "has no tilts; expected the groups /tilts/0000"),
    "tilt is a dataset": (lambda f: replace(f, DENSE, 1.0), "tilts/0000 is not a group; expected one"),
    "pose missing": (lambda f: f[DENSE].attrs.pop("theta_deg"), "tilts/0000 has no attribute theta_deg; expected 1"),
    "translation of one": (lambda f: f[EVENTS].attrs.update(translation_A=1.0), "expected 2 finite numbers [Å (y, x)]"),
    "counts per electron": (lambda f: f[DENSE].attrs.update(counts_per_electron=0.0), "counts_per_electron is 0.0"),
    "data missing": (lambda f: f[DENSE].pop("data"), "tilts/0000 has no data; expected the patterns"),
    "data flat": (lambda f: replace(f[DENSE], "data", np.ones((6, 20))), "shape (6, 20); expected (positions, ky, kx)"),
    "data complex": (lambda f: replace(f[DENSE], "data", np.ones((6, 5, 4), complex)), "type complex128; expected"),
    "data empty": (lambda f: replace(f[DENSE], "data", np.ones((0, 5, 4))), "expected at least one pattern"),
    "soft link": (lambda f: replace(f[DENSE], "data", h5py.SoftLink("/lost")), "its link to /lost leads nowhere"),
    "events missing": (lambda f: f[EVENTS]["data"].pop("indices"), "tilts/0001/data has no dataset indices"),
    "detector missing": (lambda f: f[EVENTS]["data"].attrs.pop("detector_shape"), "detector_shape is []; expected 2"),
    "offsets short": (lambda f: replace(f[EVENTS], "data/offsets", [0]), "expected positions + 1 integers"),
    "offsets end": (lambda f: replace(f[EVENTS], "data/offsets", range(7)), "runs from 0 to 6; expected to rise from 0"),
    "indices real": (lambda f: replace(f[EVENTS], "data/indices", np.ones(12)), "expected one uint32 per event"),
    "scan shape": (lambda f: f[EVENTS]["data"].attrs.update(scan_shape=(2, 2)), "scan_shape is [2, 2]; expected"),
    "positions missing": (lambda f: f[DENSE].pop("scan_positions"), "tilts/0000 has no scan_positions; expected"),
    "positions turned": (
        lambda f: replace(f[DENSE], "scan_positions", np.zeros((2, 6))),
        "tilts/0000/scan_positions has shape (2, 6), type float64; expected (6, 2) in (y, x) order",
    ),
    "positions of 400": (lambda f: replace(f[DENSE], "scan_positions", np.zeros((400, 2))), "expected (6, 2) in (y, x)"),
    "position NaN": (
        lambda f: f[DENSE]["scan_positions"].write_direct(np.array([[0, 0]] * 4 + [[np.nan, 0], [0, np.inf]])),
        "tilts/0000/scan_positions has 2 rows that are not finite or beyond ±1e+08 Å, the first is 4",
    ),
    "mask shape": (lambda f: f[DENSE].update({"mask": np.ones((4, 5), bool)}), "mask has shape (4, 5), type bool; exp"),
    "mask type": (lambda f: f[DENSE].update({"mask": np.ones((5, 4))}), "type float64; expected (5, 4), bool"),
    "mask empty": (lambda f: f[DENSE].update({"mask": np.zeros((5, 4), bool)}), "has no valid pixel; expected True"),
    "mask link": (lambda f: f[DENSE].update({"mask": h5py.SoftLink("/no")}), "mask: its link to /no leads nowhere"),
    "probe real": (lambda f: f[DENSE].update({"probe": np.ones((1, 5, 4))}), "probe has shape (1, 5, 4), type float64"),
    "probe small": (lambda f: f[DENSE].update({"probe": np.ones((1, 5, 3), complex)}), "not smaller than the detector"),
    "probe link": (lambda f: f[DENSE].update({"probe": h5py.SoftLink("/no")}), "probe: its link to /no leads nowhere"),
    "true volume flat": (lambda f: replace(f["truth"], "volume", np.ones((2, 2))), "expected a dataset of real numbers"),
    "true voxel": (lambda f: f["truth/volume"].attrs.pop("voxel_size_A"), "truth/volume has no attribute voxel_size_A"),
    "true origin": (lambda f: f["truth/volume"].attrs.update(origin_A=1.0), "origin_A is np.float64(1.0); expected 3"),
    "true atoms": (lambda f: replace(f["truth"], "atom_positions", np.ones((3, 2))), "expected (atoms, 3) as (z, y, x)"),
    "true elements": (lambda f: replace(f["truth"], "atomic_numbers", [1]), "shape (1,); expected (2,), one per atom"),
    "true tilt": (lambda f: f["truth/tilts"].move("0000", "0007"), "truth/tilts/0007 has no counterpart"),
    "true pose": (lambda f: f["truth/tilts/0000"].attrs.pop("psi_deg"), "truth/tilts/0000 has no attribute psi_deg"),
    "true positions": (
        lambda f: replace(f["truth/tilts/0000"], "scan_positions", np.ones((3, 2))),
        "truth/tilts/0000/scan_positions has shape (3, 2); expected (6, 2)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_reported(series, fault):
    damage, message = FAULTS[fault]
    with h5py.File(series, "r+") as file:
        damage(file)
    assert any(message in problem for problem in problems(series))


def test_a_sound_series_opens(series):
    with TiltSeries.open(series) as opened:
        assert [tilt.num_positions for tilt in opened.tilts] == [6, 6]


def test_all_faults_of_all_tilts_are_listed_at_once(series):
    with h5py.File(series, "r+") as file:
        file.attrs["energy_eV"] = -1.0
        file[DENSE].attrs.pop("psi_deg")
        file[DENSE].pop("scan_positions")
        file[EVENTS]["data"].pop("offsets")
        file[EVENTS].attrs["counts_per_electron"] = np.nan
    with pytest.raises(DatasetError) as failure:
        TiltSeries.open(series)
    assert str(failure.value).startswith(
        f"{series}: 5 problems:\n  - the file: attribute energy_eV is -1.0; expected"
    )
    assert str(failure.value).count("\n  - ") == 5


def test_a_lost_external_file_is_named(series, tmp_path):
    with h5py.File(series, "r+") as file:
        replace(file[DENSE], "data", h5py.ExternalLink("lost.h5", "/frames"))
    expected = "tilts/0000 has no data; its link to /frames in lost.h5 leads nowhere. Restore that file or rewrite"
    assert expected in problems(series)[0]


def test_positions_probe_and_mask_may_be_links(series, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["positions"], file["mask"], file["probe"] = np.ones((6, 2)), np.eye(5, 4) > 0, np.ones((1, 5, 4), "c8")
    with h5py.File(series, "r+") as file:
        tilt = file[DENSE]
        replace(tilt, "scan_positions", h5py.ExternalLink("other.h5", "positions"))
        tilt["mask"], tilt["probe"] = h5py.ExternalLink("other.h5", "mask"), h5py.ExternalLink("other.h5", "probe")
        replace(file, EVENTS, h5py.SoftLink(f"/{DENSE}"))
    with TiltSeries.open(series) as opened:
        for tilt in opened.tilts:
            np.testing.assert_array_equal(tilt.scan_positions(), np.ones((6, 2)))
            assert tilt.mask().sum() == 4 and tilt.probe().shape == (1, 5, 4)


def test_files_that_are_no_series_are_named_with_the_reason(tmp_path):
    assert "there is no such file. Check the path" in problems(tmp_path / "absent.h5")[0]
    assert "is a folder; expected an HDF5 file" in problems(tmp_path)[0]
    (tmp_path / "text.h5").write_text("not data")
    assert "is not an HDF5 file, or its beginning is damaged (8 bytes)" in problems(tmp_path / "text.h5")[0]


def test_a_truncated_file_is_refused_wherever_it_ends(series):
    whole = series.read_bytes()
    for length in np.linspace(0, len(whole) - 1, 23, dtype=int):
        series.write_bytes(whole[:length])
        assert "Copy or write it again" in problems(series)[0]
    os.truncate(series, len(whole) // 2)
    assert "is truncated at" in problems(series)[0]


def test_events_outside_the_detector_or_beyond_the_type_are_errors_when_read(series):
    with h5py.File(series, "r+") as file:
        replace(file[EVENTS], "data/indices", np.arange(12) + 10)
    with TiltSeries.open(series) as opened:
        assert opened.tilts[1].read(slice(5)).sum() == 10
        with pytest.raises(DatasetError, match="pattern 5 has an event in pixel 21; expected less than 20"):
            opened.tilts[1].read(slice(None))
    with h5py.File(series, "r+") as file:
        replace(file[EVENTS], "data/indices", np.zeros(70_000, np.uint32))
        replace(file[EVENTS], "data/offsets", [0, 0, 0, 0, 0, 0, 70_000])
    with TiltSeries.open(series) as opened:
        assert opened.tilts[1].read(slice(5)).sum() == 0
        with pytest.raises(DatasetError, match="pattern 5 has 70000 events in one pixel; expected at most 65535"):
            opened.tilts[1].read(np.array([5]))


def test_a_damaged_chunk_is_reported_with_file_and_tilt_when_read(tmp_path):
    counts = np.random.default_rng(0).integers(0, 200, (6, 50, 40), dtype=np.uint8)
    path = tmp_path / "series.h5"
    tilt = TiltData(counts, np.zeros((6, 2)), (0.0, 0.0, 0.0))
    write_tilt_series(path, SeriesHeader(300e3, 21.0, (2.0, 2.0)), [tilt], compression="gzip")
    with h5py.File(path) as file:
        chunk = file["tilts/0000/data"].id.get_chunk_info(0)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\xff" * chunk.size)
    with TiltSeries.open(path) as opened, pytest.raises(DatasetError, match="tilts/0000/data cannot be read"):
        opened.tilts[0].read(slice(1))
