"""A tilt series is read back as it was written, whatever its form, and only where it is asked for."""

import os

import h5py
import numpy as np
import pytest

from dptt.io.dataset import TiltSeries
from dptt.io.dataset_writer import chunk_shape, write_tilt_series
from dptt.io.errors import DatasetError
from dptt.io.pattern_checks import check_patterns
from dptt.io.series_data import ElectronEvents, ExternalPatterns, SeriesHeader, TiltData
from dptt.io.truth import TrueTilt, Truth

HEADER = SeriesHeader(
    300e3,
    21.0,
    (2.05, 1.95),
    {"C10": -200.0, "phi12": 30.0},
    creator="test",
    created="today",
    source="nowhere",
    config="a: 1\n" * 20_000,
)
SCAN = (5, 7)
DETECTOR = (6, 9)
RANDOM = np.random.default_rng(11)
COUNTS = RANDOM.poisson(1.5, (35, *DETECTOR)).astype(np.uint8)
POSITIONS = RANDOM.normal(size=(35, 2))


def events(counts: np.ndarray) -> ElectronEvents:
    """Return `counts` as electron events."""
    per_pattern = [np.repeat(np.arange(pattern.size), pattern.ravel()) for pattern in counts]
    offsets = np.concatenate([[0], np.cumsum([len(pattern) for pattern in per_pattern])])
    return ElectronEvents(np.concatenate(per_pattern), offsets, counts.shape[1:])


def in_every_form(folder) -> dict[str, TiltData]:
    """Return the same tilt dense, as a raster, in blocks, as events and as a link."""
    with h5py.File(folder / "raw.h5", "w") as file:
        file["a/data"] = COUNTS.reshape(*SCAN, *DETECTOR)
    blocks = (COUNTS[start : start + 9] for start in range(0, 35, 9))
    raster_blocks = (COUNTS[start : start + 9] for start in range(0, 35, 9))
    angles = (1.0, -60.0, 2.0)
    return {
        "list": TiltData(COUNTS, POSITIONS, angles),
        "raster": TiltData(COUNTS.reshape(*SCAN, *DETECTOR), POSITIONS, angles),
        "list given a raster": TiltData(COUNTS, POSITIONS, angles, scan_shape=SCAN),
        "blocks": TiltData(blocks, POSITIONS, angles),
        "raster blocks": TiltData(raster_blocks, POSITIONS, angles, scan_shape=SCAN),
        "events": TiltData(events(COUNTS), POSITIONS, angles),
        "raster events": TiltData(events(COUNTS), POSITIONS, angles, scan_shape=SCAN),
        "link": TiltData(ExternalPatterns("raw.h5", "a/data"), POSITIONS, angles),
    }


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_every_form_gives_the_same_patterns_for_any_choice_of_positions(tmp_path, compression):
    forms = in_every_form(tmp_path)
    write_tilt_series(tmp_path / "series.h5", HEADER, forms.values(), compression=compression)
    choices = [slice(None), slice(3, 30, 4), slice(10, 10), np.array([], int), np.array([34]), np.arange(6, 22)]
    choices += [
        np.array([13, 2, 2, 34, 0, 14]),
        RANDOM.permutation(35),
        np.arange(7, 21),
        np.arange(5, 9, dtype=np.uint8),
    ]
    with TiltSeries.open(tmp_path / "series.h5") as series:
        for tilt, form in zip(series.tilts, forms, strict=True):
            sparse = "events" in form
            assert tilt.scan_shape == (SCAN if "raster" in form or form == "link" else None)
            assert (tilt.num_positions, tilt.detector_shape) == (35, DETECTOR)
            assert tilt.dtype == (np.uint16 if sparse else np.uint8)
            for choice in choices:
                patterns = tilt.read(choice)
                assert patterns.dtype == tilt.dtype
                np.testing.assert_array_equal(patterns, COUNTS[choice])


def test_header_pose_probe_mask_and_aberrations_come_back(tmp_path):
    probe = (RANDOM.normal(size=(2, *DETECTOR)) + 1j).astype(np.complex64)
    mask = RANDOM.random(DETECTOR) > 0.3
    tilts = [
        TiltData(
            COUNTS, POSITIONS, (1.0, -60.0, 2.0), (3.5, -4.0), None, 2.5, {"C10": -250.0, "C30": 1e4}, probe, mask
        ),
        TiltData(COUNTS[:3].astype(">f4"), POSITIONS[:3].astype(np.float32), (0.0, 0.0, 0.0)),
    ]
    write_tilt_series(tmp_path / "series.h5", HEADER, tilts)
    with TiltSeries.open(tmp_path / "series.h5") as series:
        assert series.header == HEADER
        assert (series.energy, series.semiangle_cutoff, series.angular_sampling) == (300e3, 21.0, (2.05, 1.95))
        first, second = series.tilts
        assert (first.name, first.euler_angles, first.translation) == ("0000", (1.0, -60.0, 2.0), (3.5, -4.0))
        assert first.counts_per_electron == 2.5
        zero = {"C12": 0.0, "C21": 0.0, "phi21": 0.0, "C23": 0.0, "phi23": 0.0}
        assert first.aberrations == {"C10": -250.0, "phi12": 30.0, "C30": 1e4} | zero
        assert second.aberrations == {"C10": -200.0, "phi12": 30.0, "C30": 0.0} | zero
        np.testing.assert_array_equal(first.probe(), probe)
        np.testing.assert_array_equal(first.mask(), mask)
        np.testing.assert_array_equal(first.scan_positions(), POSITIONS)
        assert second.probe() is None and second.mask() is None and series.truth() is None
        assert second.dtype == np.float32 and second.counts_per_electron == 1.0
        assert second.scan_positions().dtype == np.float64


def test_truth_comes_back_with_any_of_its_parts(tmp_path):
    full = Truth(
        RANDOM.normal(size=(3, 4, 5)).astype(np.float32),
        (1.0, 0.5, 0.25),
        (0.1, 0.2, 0.3),
        RANDOM.normal(size=(6, 3)),
        np.array([6, 79, 6, 6, 1, 1]),
        (
            TrueTilt(
                "0000",
                (0.1, -60.2, 0.3),
                (1.0, 2.0),
                POSITIONS + 0.1,
                {"C10": -12.0, "phi12": 30.0},
                {"drift_y": 0.4},
            ),
        ),
        np.array([[1, 2], [0, 3]]),
    )
    tilt = TiltData(COUNTS, POSITIONS, (0.0, -60.0, 0.0))
    for number, truth in enumerate((full, Truth(atom_positions=full.atom_positions), Truth(tilts=full.tilts))):
        write_tilt_series(tmp_path / f"{number}.h5", HEADER, [tilt], truth)
        with TiltSeries.open(tmp_path / f"{number}.h5") as series:
            found = series.truth()
        for name in ("volume", "atom_positions", "atomic_numbers", "bad_pixels"):
            np.testing.assert_array_equal(getattr(found, name), getattr(truth, name))
        assert (found.voxel_size, found.origin) == (truth.voxel_size, truth.origin)
        for found_tilt, true_tilt in zip(found.tilts, truth.tilts, strict=True):
            assert found_tilt.euler_angles == true_tilt.euler_angles
            assert found_tilt.translation == true_tilt.translation
            assert found_tilt.aberrations == true_tilt.aberrations
            assert found_tilt.errors == true_tilt.errors
            np.testing.assert_array_equal(found_tilt.scan_positions, true_tilt.scan_positions)


def test_reading_two_patterns_touches_only_those_two(tmp_path, monkeypatch):
    write_tilt_series(tmp_path / "series.h5", HEADER, [TiltData(COUNTS, POSITIONS, (0.0, 0.0, 0.0))])
    touched = []
    read_direct, get = h5py.Dataset.read_direct, h5py.Dataset.__getitem__

    def watched_read(dataset, out, selection=None, destination=None):
        touched.append((dataset.name, selection))
        return read_direct(dataset, out, selection, destination)

    def watched_get(dataset, *arguments, **options):
        touched.append((dataset.name, arguments))
        return get(dataset, *arguments, **options)

    with TiltSeries.open(tmp_path / "series.h5") as series:
        monkeypatch.setattr(h5py.Dataset, "read_direct", watched_read)
        monkeypatch.setattr(h5py.Dataset, "__getitem__", watched_get)
        series.tilts[0].read(np.array([30, 4]))
    assert touched == [("/tilts/0000/data", np.s_[4:5]), ("/tilts/0000/data", np.s_[30:31])]


@pytest.mark.parametrize("shape", [(2**21, 512, 512), (2**10, 2**11, 512, 512)], ids=["list", "raster"])
def test_a_tilt_of_a_terabyte_opens_and_is_read_in_no_memory(tmp_path, shape):
    write_tilt_series(tmp_path / "series.h5", HEADER, [TiltData(COUNTS, POSITIONS, (0.0, 0.0, 0.0))])
    with h5py.File(tmp_path / "series.h5", "r+") as file:  # chunks that were never written take no place
        tilt = file["tilts/0000"]
        del tilt["data"], tilt["scan_positions"]
        data = tilt.create_dataset("data", shape, np.uint16, chunks=(*(1,) * (len(shape) - 3), 2, 512, 512))
        data[(1,) * (len(shape) - 2)] = np.full((512, 512), 7)
        tilt.create_dataset("scan_positions", (2**21, 2), np.float64, chunks=(2**16, 2))
    one = 1 if len(shape) == 3 else 2**11 + 1
    with TiltSeries.open(tmp_path / "series.h5") as series:
        patterns = series.tilts[0].read(np.array([2**21 - 1, one]))
        assert patterns.nbytes == 2 * 512 * 512 * 2
        assert patterns.max(axis=(1, 2)).tolist() == [0, 7]
        assert len(series.checksum()) == 64


def test_position_numbers_out_of_the_scan_are_refused(tmp_path):
    write_tilt_series(tmp_path / "series.h5", HEADER, [TiltData(COUNTS, POSITIONS, (0.0, 0.0, 0.0))])
    with TiltSeries.open(tmp_path / "series.h5") as series:
        with pytest.raises(IndexError, match="indices reach from 3 to 35; expected 0 to 34"):
            series.tilts[0].read(np.array([3, 35]))
        with pytest.raises(IndexError, match="indices reach from -1 to 2"):
            series.tilts[0].read(np.array([2, -1]))
        with pytest.raises(IndexError, match=r"shape \(1, 2\).*expected a list of position numbers"):
            series.tilts[0].read(np.array([[1, 2]]))


def test_chunks_hold_whole_neighbouring_patterns_of_a_quarter_to_one_mebibyte(tmp_path):
    counts = np.zeros((3, 50, 64, 48), np.uint16)  # 6 KiB a pattern, 300 KiB a row
    tilts = [
        TiltData(counts, np.zeros((150, 2)), (0.0, 0.0, 0.0)),
        TiltData(counts.reshape(150, 64, 48), np.zeros((150, 2)), (0.0, 0.0, 0.0)),
    ]
    write_tilt_series(tmp_path / "series.h5", HEADER, tilts, compression="gzip")
    with h5py.File(tmp_path / "series.h5") as file:
        assert file["tilts/0000/data"].chunks == (1, 25, 64, 48)
        assert file["tilts/0001/data"].chunks == (38, 64, 48)
        assert file["tilts/0000/data"].compression == "gzip"
    tilts = [TiltData(np.zeros((4, 5, 1024, 1030), np.uint16), np.zeros((20, 2)), (0.0, 0.0, 0.0))]
    write_tilt_series(tmp_path / "large.h5", HEADER, tilts)
    with h5py.File(tmp_path / "large.h5") as file:
        assert file["tilts/0000/data"].chunks == (1, 1, 1024, 1030)


@pytest.mark.parametrize("scan", [(10_000,), (997,), (101, 103), (31, 300), (300, 31), (7, 6), (1, 1)])
@pytest.mark.parametrize("detector", [(16, 14), (64, 64), (128, 126), (256, 256)])
def test_a_shard_touches_little_more_than_itself(scan, detector):
    """In bytes: what its two ends add is less than two of the largest chunks, and a chunk is no lone sliver."""
    *rows, x, _, _ = chunks = chunk_shape((*scan, *detector), 2)
    pattern = 2 * detector[0] * detector[1]
    numbers = np.arange(np.prod(scan)).reshape(scan if len(scan) == 2 else (1, -1))
    chunk_of = (np.indices(numbers.shape)[0] // (rows or [1])[0]) * 10**6 + np.indices(numbers.shape)[1] // x
    flat = chunk_of.ravel()
    for part in numbers.ravel(), *np.array_split(numbers.ravel(), 8), *np.array_split(numbers.ravel(), 61):
        touched = np.isin(flat, np.unique(flat[part])).sum()
        assert (touched - len(part)) * pattern < 2 * 2**20, chunks
    size = np.prod(chunks) * 2
    assert size <= max(2**20, pattern)
    assert size >= min(2**18, numbers.size * pattern) / 2 - pattern
    stored = np.prod([-(-n // c) * c for n, c in zip(scan, chunks[:-2], strict=True)])
    assert stored <= 1.15 * numbers.size + np.sqrt(numbers.size), "chunks at the edges take their full size"


def test_the_checksum_tells_series_apart_and_not_storage(tmp_path):
    def checksum(name, header=HEADER, counts=COUNTS, positions=POSITIONS, **options):
        write_tilt_series(tmp_path / name, header, [TiltData(counts, positions, (0.0, 0.0, 0.0))], **options)
        with TiltSeries.open(tmp_path / name) as series:
            return series.checksum()

    changed = COUNTS.copy()
    changed[-1, 2, 3] += 1
    same = checksum("a.h5"), checksum("b.h5"), checksum("c.h5", compression="gzip")
    different = (
        checksum("d.h5", counts=changed),
        checksum("e.h5", positions=POSITIONS + 1e-9),
        checksum("f.h5", header=SeriesHeader(300e3, 21.0, (2.05, 1.95))),
    )
    assert len(set(same)) == 1
    assert len({*same, *different}) == 4


def test_many_readers_open_a_file_that_one_holds_open(tmp_path):
    write_tilt_series(tmp_path / "series.h5", HEADER, [TiltData(COUNTS, POSITIONS, (0.0, 0.0, 0.0))])
    os.chmod(tmp_path / "series.h5", 0o444)
    with TiltSeries.open(tmp_path / "series.h5") as one, TiltSeries.open(tmp_path / "series.h5") as two:
        np.testing.assert_array_equal(one.tilts[0].read(slice(4)), two.tilts[0].read(slice(4)))


def test_a_folder_with_series_and_raw_data_can_be_moved(tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    forms = in_every_form(before)
    write_tilt_series(before / "series.h5", HEADER, [forms["link"]])
    before.rename(after)
    with TiltSeries.open(after / "series.h5") as series:
        np.testing.assert_array_equal(series.tilts[0].read(slice(None)), COUNTS)


def test_a_failed_write_leaves_no_file_and_keeps_the_old_one(tmp_path):
    path = tmp_path / "series.h5"
    tilt = TiltData(COUNTS, POSITIONS, (0.0, 0.0, 0.0))

    def failing():
        yield COUNTS[:9]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_tilt_series(path, HEADER, [tilt, TiltData(failing(), POSITIONS, (0.0, 0.0, 0.0))])
    assert os.listdir(tmp_path) == []
    write_tilt_series(path, HEADER, [tilt])
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        write_tilt_series(path, HEADER, [tilt, tilt])
    with pytest.raises(ZeroDivisionError):
        write_tilt_series(path, HEADER, [TiltData(failing(), POSITIONS, (0.0, 0.0, 0.0))], overwrite=True)
    with TiltSeries.open(path) as series:
        assert len(series.tilts) == 1
    write_tilt_series(path, HEADER, [tilt, tilt], overwrite=True)
    with TiltSeries.open(path) as series:
        assert len(series.tilts) == 2
    assert os.listdir(tmp_path) == ["series.h5"]


def refusal(path, tilt, header=HEADER) -> str:
    with pytest.raises(DatasetError) as failure:
        write_tilt_series(path, header, [tilt])
    assert not path.exists()
    return str(failure.value)


def test_data_that_make_no_series_are_refused_when_written(tmp_path):
    path, angles = tmp_path / "series.h5", (0.0, 0.0, 0.0)
    nan = np.full_like(POSITIONS, np.nan)
    assert "(2, 35); expected (positions, 2) in (y, x) order" in refusal(path, TiltData(COUNTS, POSITIONS.T, angles))
    assert "scan_positions has values that are not finite" in refusal(path, TiltData(COUNTS, nan, angles))
    assert "scan_positions has shape (35, 2)" in refusal(path, TiltData(COUNTS[:4], POSITIONS, angles))
    assert "scan_shape is (5, 6), but there are 35" in refusal(
        path, TiltData(COUNTS, POSITIONS, angles, scan_shape=(5, 6))
    )
    assert "the blocks hold 9 patterns; expected 35" in refusal(path, TiltData([COUNTS[:9]], POSITIONS, angles))
    blocks = [COUNTS[:30], COUNTS[:9]]
    assert "after 30 patterns; expected at most 5 patterns" in refusal(path, TiltData(blocks, POSITIONS, angles))
    blocks = [COUNTS[:30], COUNTS[30:].astype(float)]
    assert "block (5, 6, 9) of float64" in refusal(path, TiltData(blocks, POSITIONS, angles))
    assert "first block has shape None" in refusal(path, TiltData([], POSITIONS, angles))
    assert "data has type complex128" in refusal(path, TiltData(COUNTS + 0j, POSITIONS, angles))
    outside = TiltData(ElectronEvents(np.array([3, 54]), np.arange(36), DETECTOR), POSITIONS, angles)
    assert "events are in pixels 3 to 54; expected 0 to 53" in refusal(path, outside)
    link = TiltData(ExternalPatterns("absent.h5", "data"), POSITIONS, angles)
    assert "its link to data in absent.h5 leads nowhere. Restore that file" in refusal(path, link)
    header = SeriesHeader(-1.0, 21.0, (2.0, 0.0))
    message = refusal(path, TiltData(COUNTS, POSITIONS, angles), header)
    assert "energy_eV is -1.0" in message and "angular_sampling_mrad is [2.0, 0.0]" in message
    with pytest.raises(ValueError, match="aberration 'C99' is not known; expected one of C10"):
        write_tilt_series(path, SeriesHeader(300e3, 21.0, (2.0, 2.0), {"C99": 1.0}), [])
    with pytest.raises(DatasetError, match="has no tilts; expected the groups"):
        write_tilt_series(path, HEADER, [])
    assert os.listdir(tmp_path) == []


def test_bad_counts_are_found_with_the_positions_where_they_are(tmp_path):
    whole = COUNTS.copy() + 1
    whole[4] = 0
    whole[[8, 9, 10, 11, 12, 13], 2, 3] = 255
    real = whole.astype(np.float32)
    real[5, 1, 1], real[6, 1, 1], real[7, 0, 0] = np.nan, np.inf, -1
    mask = np.ones(DETECTOR, bool)
    mask[2, 3] = mask[1, 1] = False
    angles = (0.0, 0.0, 0.0)
    tilts = [TiltData(counts, POSITIONS, angles) for counts in (COUNTS + 1, whole, real, events(whole))]
    tilts += [TiltData(counts, POSITIONS, angles, mask=mask) for counts in (whole, real)]
    write_tilt_series(tmp_path / "series.h5", HEADER, tilts)
    empty = "1 of 35 patterns have no counts at all: 4."
    saturated = "6 of 35 patterns have pixels at the largest value of uint8: 8, 9, 10, 11, 12, .... Mask the pixels"
    not_finite = "2 of 35 patterns have pixels that are NaN or infinite: 5, 6."
    negative = "1 of 35 patterns have negative counts: 7."
    expected = [[], [empty, saturated], [not_finite, negative, empty], [empty], [empty], [negative, empty]]
    with TiltSeries.open(tmp_path / "series.h5") as series:
        for tilt, sentences in zip(series.tilts, expected, strict=True):
            for block_bytes in (1, 500, 10**6):
                found = check_patterns(tilt, block_bytes=block_bytes)
                assert len(found) == len(sentences)
                assert all(sentence in line for sentence, line in zip(sentences, found, strict=True))
        assert check_patterns(series.tilts[1], every=3) == [
            "tilts/0001: 2 of 12 patterns have pixels at the largest value of uint8: 9, 12. "
            "Mask the pixels, or convert with a wider type."
        ]
