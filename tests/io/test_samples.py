"""Which patterns a sample is taken from, so that few chunks are decompressed."""

import h5py
import numpy as np
import pytest

from dptt.io.dataset import CHUNKS_OF_SAMPLE, TiltSeries
from dptt.io.dataset_writer import write_tilt_series
from dptt.io.series_data import SeriesHeader, TiltData

HEADER = SeriesHeader(300e3, 21.0, (2.5, 2.8), {})


def stored(path, scan, chunks, **filters):
    """Write a tilt whose patterns are stored in these chunks."""
    number = int(np.prod(scan))
    tilt = TiltData(np.ones((number, 6, 5), np.uint8), np.zeros((number, 2)), (0.0, 0.0, 0.0))
    write_tilt_series(path, HEADER, [tilt])
    with h5py.File(path, "r+") as file:
        del file["tilts/0000/data"]
        file["tilts/0000"].create_dataset("data", (*scan, 6, 5), np.uint8, chunks=(*chunks, 6, 5), **filters)
    return path


@pytest.mark.parametrize(
    ("scan", "chunks"),
    [((80, 20), (1, 20)), ((80, 21), (1, 7)), ((81, 20), (4, 5)), ((1600,), (9,)), ((40, 9), (1, 9))],
)
def test_a_sample_comes_from_few_compressed_chunks_all_over_the_scan(tmp_path, scan, chunks):
    path = stored(tmp_path / "series.h5", scan, chunks, compression="gzip")
    with TiltSeries.open(path) as series:
        quick = series.tilts[0].quick_to_read()
    places = np.stack(np.unravel_index(quick, scan), 1)
    touched = {tuple(place) for place in places // np.array(chunks)}
    assert len(touched) == CHUNKS_OF_SAMPLE
    assert all(np.diff(quick) > 0)
    whole = [n for n in range(int(np.prod(scan))) if tuple(np.array(np.unravel_index(n, scan)) // chunks) in touched]
    assert quick.tolist() == whole, "chunks are used as a whole"
    gaps = np.diff(np.concatenate([[0], quick, [np.prod(scan) - 1]]))
    assert gaps.max() < 0.1 * np.prod(scan), "no part of the scan is left out"


@pytest.mark.parametrize(
    ("scan", "chunks", "filters"),
    [((80, 20), (1, 20), {}), ((32, 20), (1, 20), {"compression": "gzip"}), ((1600,), (50,), {"fletcher32": True})],
)
def test_all_patterns_are_quick_to_read_singly_or_from_few_chunks(tmp_path, scan, chunks, filters):
    path = stored(tmp_path / "series.h5", scan, chunks, **filters)
    with TiltSeries.open(path) as series:
        assert series.tilts[0].quick_to_read().tolist() == list(range(int(np.prod(scan))))
