"""Arrays that are put together without reading them: patterns in several datasets, in pages, in one long list."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


def by_numbers(name: str) -> list[tuple[int, float, str]]:
    """Return a key that sorts tilt_2 before tilt_10."""
    parts = re.split(r"(\d+)", name)
    return [(1, float(part), "") if part.isdigit() else (0, 0.0, part) for part in parts]


@dataclass(frozen=True)
class Concatenated:
    """Arrays one after the other along their first axis; only those that an index needs are read."""

    arrays: Sequence[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all together."""
        return sum(array.shape[0] for array in self.arrays), *self.arrays[0].shape[1:]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """Type of the elements."""
        return self.arrays[0].dtype

    def __getitem__(self, entries: Any) -> NDArray[Any]:
        first, *rest = entries if isinstance(entries, tuple) else (entries,)
        rows = _whole(first, self.shape[0])
        parts, offset = [], 0
        for array in self.arrays:
            start, stop = max(rows.start - offset, 0), min(rows.stop - offset, array.shape[0])
            if start < stop:
                parts.append(np.asarray(array[(slice(start, stop), *rest)]))
            offset += array.shape[0]
        block = np.concatenate(parts) if parts else np.asarray(self.arrays[0][(slice(0, 0), *rest)])
        return block[0] if isinstance(first, int | np.integer) else block[:: rows.step]


@dataclass(frozen=True)
class Frames:
    """An array (frames, y, x) of frames that `read` returns one by one, by their number."""

    read: Callable[[int], NDArray[Any]]
    shape: tuple[int, int, int]
    dtype: np.dtype
    ndim: int = 3

    def __getitem__(self, entries: Any) -> NDArray[Any]:
        first, *rest = entries if isinstance(entries, tuple) else (entries,)
        rows = _whole(first, self.shape[0])
        block = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for number, row in enumerate(rows):
            block[number] = self.read(row)
        block = block[(slice(None), *rest)]
        return block[0] if isinstance(first, int | np.integer) else block


@dataclass(frozen=True)
class Raster:
    """Frames (frames, y, x) as a raster (scan_y, scan_x, y, x), x fastest; any behind the last row are left out."""

    frames: Any
    scan_shape: tuple[int, int]
    ndim: int = 4

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape as a raster."""
        return *self.scan_shape, *self.frames.shape[1:]

    @property
    def dtype(self) -> np.dtype:
        """Type of the elements."""
        return self.frames.dtype

    def __getitem__(self, entries: Any) -> NDArray[Any]:
        padded = (*entries, slice(None), slice(None))[:4] if isinstance(entries, tuple) else (entries,)
        padded = (*padded, *(slice(None),) * (4 - len(padded)))
        rows, columns = (_whole(entry, size) for entry, size in zip(padded[:2], self.scan_shape, strict=True))
        width = self.scan_shape[1]
        if len(rows) > 1 and rows.step == 1 and len(columns) == width:
            block = np.asarray(self.frames[rows.start * width : rows.stop * width])
        else:
            runs = [slice(row * width + columns.start, row * width + columns.stop, columns.step) for row in rows]
            block = np.concatenate([np.asarray(self.frames[run]) for run in runs] or [np.asarray(self.frames[0:0])])
        block = block.reshape(len(rows), len(columns), *block.shape[1:])[(slice(None), slice(None), *padded[2:])]
        for axis in (1, 0):
            if isinstance(padded[axis], int | np.integer):
                block = block.take(0, axis=axis)
        return block


def _whole(entry: Any, size: int) -> range:
    """Return the numbers that an index into an axis of `size` selects."""
    if isinstance(entry, int | np.integer):
        number = range(size)[int(entry)]
        return range(number, number + 1)
    return range(*entry.indices(size))
