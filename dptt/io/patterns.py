"""Reading the diffraction patterns of one tilt, dense or as electron events, by position number.

Only the requested patterns are read: position numbers are sorted and joined into runs of consecutive numbers. Each
run is one hyperslab, or at most three if the data are stored as a raster.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

LARGEST_CACHE = 32 * 2**20
"""[bytes] A larger compressed chunk (of a foreign file) is read again for each run of patterns in it."""


@dataclass(frozen=True)
class DensePatterns:
    """Patterns in a dataset ``(positions, ky, kx)`` or ``(scan_y, scan_x, ky, kx)``."""

    dataset: h5py.Dataset

    @property
    def num_positions(self) -> int:
        """Number of scan positions."""
        return int(np.prod(self.dataset.shape[:-2]))

    @property
    def scan_shape(self) -> tuple[int, int] | None:
        """Number of scan positions along (y, x), or None for a list of positions."""
        return (self.dataset.shape[0], self.dataset.shape[1]) if self.dataset.ndim == 4 else None

    @property
    def detector_shape(self) -> tuple[int, int]:
        """Number of detector pixels along (ky, kx)."""
        return self.dataset.shape[-2], self.dataset.shape[-1]

    @property
    def dtype(self) -> np.dtype:
        """The detector's own type, in the byte order of this machine and with at most 64 bits, as torch has it."""
        stored = self.dataset.dtype.newbyteorder("=")
        return np.dtype(np.float64) if stored.kind == "f" and stored.itemsize > 8 else stored

    def chunk_numbers(self) -> NDArray[np.int64] | None:
        """Return the chunk that holds each pattern; None if a pattern is read without the rest of its chunk."""
        dataset = self.dataset
        if dataset.chunks is None or dataset.id.get_create_plist().get_nfilters() == 0:
            return None
        if self.scan_shape is None:
            return np.arange(self.num_positions) // dataset.chunks[0]
        rows, columns = (np.arange(n) // chunk for n, chunk in zip(self.scan_shape, dataset.chunks, strict=False))
        return (rows[:, None] * (columns[-1] + 1) + columns).ravel()

    def read_run(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Fill `out` (stop - start, ky, kx) with the patterns start, ..., stop - 1."""
        if self.scan_shape is None:
            self.dataset.read_direct(out, np.s_[start:stop])
            return
        filled = 0
        for rows, columns in raster_blocks(start, stop, self.scan_shape[1]):
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            block = out[filled : filled + shape[0] * shape[1]].reshape(shape + self.detector_shape)
            self.dataset.read_direct(block, (rows, columns))
            filled += shape[0] * shape[1]


@dataclass(frozen=True)
class SparsePatterns:
    """Patterns as electron events: one flat pixel index per electron, and an offset per pattern."""

    group: h5py.Group

    @property
    def num_positions(self) -> int:
        """Number of scan positions."""
        return self.group["offsets"].shape[0] - 1

    @property
    def scan_shape(self) -> tuple[int, int] | None:
        """Number of scan positions along (y, x), or None for a list of positions."""
        if "scan_shape" not in self.group.attrs:
            return None
        y, x = (int(n) for n in self.group.attrs["scan_shape"])
        return y, x

    @property
    def detector_shape(self) -> tuple[int, int]:
        """Number of detector pixels along (ky, kx)."""
        y, x = (int(n) for n in self.group.attrs["detector_shape"])
        return y, x

    @property
    def dtype(self) -> np.dtype:
        """Type of the returned counts."""
        return np.dtype(np.uint16)

    def chunk_numbers(self) -> None:
        """Return None: events of one pattern are read without many others."""

    def read_run(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Fill `out` (stop - start, ky, kx) with the number of events in each pixel."""
        offsets = self.group["offsets"][start : stop + 1]
        events = self.group["indices"][offsets[0] : offsets[-1]]
        num_pixels = self.detector_shape[0] * self.detector_shape[1]
        for number, (first, last) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
            counts = np.bincount(events[first - offsets[0] : last - offsets[0]], minlength=num_pixels)
            if counts.size > num_pixels:
                raise ValueError(
                    f"pattern {start + number} has an event in pixel {counts.size - 1}; expected less than "
                    f"{num_pixels} for a detector of {self.detector_shape}. Correct detector_shape or the events."
                )
            if counts.max() > np.iinfo(np.uint16).max:
                raise ValueError(
                    f"pattern {start + number} has {counts.max()} events in one pixel; expected at most 65535. "
                    "Store these data as dense patterns."
                )
            out[number] = counts.reshape(self.detector_shape)


def open_for_scattered_reading(group: h5py.Group, name: str) -> h5py.Dataset:
    """Return the dataset opened so that single patterns are read without the rest of their chunk, if not compressed.

    By default HDF5 reads a whole chunk into its cache for each pattern. In random order that multiplies the traffic
    by the number of patterns in a chunk. For compressed data the cache holds two chunks, the two ends of a range.
    Every open tilt has its own cache, so larger ones would fill the memory during an epoch.
    """
    dataset = group[name]
    cache = 0
    if dataset.id.get_create_plist().get_nfilters() > 0:
        cache = min(2 * math.prod(dataset.chunks) * dataset.dtype.itemsize, LARGEST_CACHE)
    del dataset  # the settings below have no effect on a dataset that is already open
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_chunk_cache(521, cache, 0.75)  # 521 slots and 0.75 are HDF5's defaults
    return h5py.Dataset(h5py.h5d.open(group.id, name.encode(), access))


Patterns = DensePatterns | SparsePatterns


def read_patterns(patterns: Patterns, indices: slice | NDArray[np.integer]) -> NDArray[Any]:
    """Return the patterns `indices`, in the order of `indices`; no other pattern is read.

    Parameters
    ----------
    patterns
        The patterns of a tilt.
    indices
        Position numbers, shape (n,), in any order, repeats allowed; or a slice.

    Returns
    -------
    NDArray
        Counts, shape (n, ky, kx), in the stored type.
    """
    numbers = position_numbers(indices, patterns.num_positions)
    ordered, inverse = np.unique(numbers, return_inverse=True)
    counts = np.empty((ordered.size, *patterns.detector_shape), patterns.dtype)
    filled = 0
    for start, stop in consecutive_runs(ordered):
        patterns.read_run(start, stop, counts[filled : filled + stop - start])
        filled += stop - start
    return counts if np.array_equal(numbers, ordered) else counts[inverse]


def position_numbers(indices: slice | NDArray[np.integer], num_positions: int) -> NDArray[np.int64]:
    """Return `indices` as an array of position numbers.

    Raises
    ------
    IndexError
        A position number is not in the scan.
    """
    if isinstance(indices, slice):
        return np.arange(num_positions, dtype=np.int64)[indices]
    numbers = np.asarray(indices)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise IndexError(
            f"indices have shape {numbers.shape} and type {numbers.dtype}; expected a list of position numbers."
        )
    if numbers.size and (numbers.min() < 0 or numbers.max() >= num_positions):
        raise IndexError(f"indices reach from {numbers.min()} to {numbers.max()}; expected 0 to {num_positions - 1}.")
    return numbers.astype(np.int64)


def consecutive_runs(numbers: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of each run of consecutive numbers; `numbers` increase."""
    if numbers.size:
        for run in np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1):
            yield int(run[0]), int(run[-1]) + 1


def raster_blocks(start: int, stop: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Yield (rows, columns) of at most three rectangles that cover positions start, ..., stop - 1 in order.

    Parameters
    ----------
    start, stop
        Position numbers along the scan, x fastest.
    width
        Number of positions along x.
    """
    while start < stop:
        row, column = divmod(start, width)
        whole_rows = (stop - start) // width if column == 0 else 0
        num_columns = width if whole_rows else min(width - column, stop - start)
        num_rows = max(whole_rows, 1)
        yield slice(row, row + num_rows), slice(column, column + num_columns)
        start += num_rows * num_columns
