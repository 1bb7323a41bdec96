"""The patterns of one tilt in a foreign array, block by block, in the order and the frame of dptt."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dptt.io.importers.description_problems import position_shapes
from dptt.io.importers.detector_correction import Correction
from dptt.io.importers.detector_frame import DetectorFrame
from dptt.io.importers.foreign_array import ForeignArray
from dptt.io.patterns import raster_blocks


@dataclass(frozen=True)
class ForeignTilt:
    """Patterns of one tilt of a foreign array, in the order of the scan (x fastest)."""

    array: ForeignArray
    axes: tuple[str, ...]
    size: dict[str, int]
    tilt: int

    @property
    def scan_shape(self) -> tuple[int, int] | None:
        """Number of positions along (scan_y, scan_x), or None for a list of positions."""
        return (self.size["scan_y"], self.size["scan_x"]) if "scan_y" in self.size else None

    @property
    def num_positions(self) -> int:
        """Number of patterns."""
        return position_shapes(self.size)[0][0]

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return patterns start, ..., stop - 1 as (n, ky, kx), in foreign pixels."""
        if self.scan_shape is None:
            return self._read_block({"position": slice(start, stop)})
        rectangles = raster_blocks(start, stop, self.scan_shape[1])
        return np.concatenate([self._read_block({"scan_y": rows, "scan_x": cols}) for rows, cols in rectangles])

    def _read_block(self, positions: dict[str, slice]) -> NDArray[Any]:
        selection: dict[str, int | slice] = {**positions, "tilt": self.tilt}
        block = self.array.read(tuple(selection.get(name, slice(None)) for name in self.axes))
        remaining = [name for name in self.axes if name != "tilt"]
        order = [remaining.index(name) for name in (*positions, "ky", "kx")]
        return block.transpose(order).reshape(-1, self.size["ky"], self.size["kx"])


def blocks(
    foreign: ForeignTilt,
    correction: Correction,
    frame: DetectorFrame,
    block_bytes: int,
    report: Callable[[int], None],
) -> Iterator[NDArray[Any]]:
    """Yield blocks (n, ky, kx) in dptt's detector frame; `report` receives the number of patterns read so far."""
    pattern_bytes = foreign.size["ky"] * foreign.size["kx"] * foreign.array.dtype.itemsize
    block_size = max(1, block_bytes // pattern_bytes)
    for start in range(0, foreign.num_positions, block_size):
        stop = min(start + block_size, foreign.num_positions)
        yield frame.apply(correction.apply(foreign.read(start, stop)))
        report(stop)


def read_ahead(following: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """Yield blocks, each of which a thread reads while the one before it is written."""
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(next, following, None)
        while (block := read.result()) is not None:
            read = reader.submit(next, following, None)
            yield block
