"""stempy (HDF5): electrons counted on the 4D Camera, as lists of the pixels that they hit, one list a frame.

A scan position may have several frames, which are summed. Versions 1 and 2 of the layout list the position of every
frame; in version 3 the frames of a position follow each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dptt.io.errors import ImportDescriptionError
from dptt.io.importers.formats.foreign_data import ForeignData
from dptt.io.importers.formats.stacked import Raster
from dptt.io.importers.trial import try_reading

BLOCK = 256
"""Frames that are read between two signs of life."""
FRAMES, POSITIONS = "electron_events/frames", "electron_events/scan_positions"


def is_stempy(file: h5py.File) -> bool:
    """Return whether `file` has lists of electrons."""
    frames = file.get(FRAMES)
    return isinstance(frames, h5py.Dataset) and POSITIONS in file and h5py.check_vlen_dtype(frames.dtype) is not None


def open_stempy(file: h5py.File) -> ForeignData:
    """Return the counts (scan_y, scan_x, ky, kx), made from the lists when they are read.

    Raises
    ------
    ImportDescriptionError
        The numbers of frames, positions and pixels contradict each other.
    """
    frames, positions = file[FRAMES], file[POSITIONS]
    try:
        scan_shape = int(positions.attrs["Ny"]), int(positions.attrs["Nx"])
        detector_shape = int(frames.attrs["Nx"]), int(frames.attrs["Ny"])  # the writer calls the rows Nx
    except KeyError as failure:
        raise ImportDescriptionError(Path(file.filename), [f"{failure}. Save it again with stempy."]) from failure
    owners = _position_of_every_frame(file, scan_shape[0] * scan_shape[1])
    order = np.argsort(owners, kind="stable")
    starts = np.searchsorted(owners[order], np.arange(scan_shape[0] * scan_shape[1] + 1))
    events = Events(frames, order, starts, (scan_shape[0] * scan_shape[1], *detector_shape))
    return ForeignData(Raster(events, scan_shape), ("scan_y", "scan_x", "ky", "kx"))


def _position_of_every_frame(file: h5py.File, num_positions: int) -> NDArray[np.int64]:
    frames, positions = file[FRAMES], file[POSITIONS]
    if int(file.attrs.get("version", 1)) >= 3:
        each, left = divmod(frames.shape[0], max(num_positions, 1))
        if left or not each:
            problem = f"has {frames.shape[0]} frames for {num_positions} scan positions; expected as many for each."
            raise ImportDescriptionError(Path(file.filename), [f"{problem} Save it again with stempy."])
        return np.repeat(np.arange(num_positions), each)
    owners = np.asarray(positions[()]).astype(np.int64)
    if owners.shape != frames.shape[:1] or owners.min(initial=0) < 0 or owners.max(initial=0) >= num_positions:
        problem = f"scan_positions {owners.shape} do not give {frames.shape[0]} frames a place in {num_positions}."
        raise ImportDescriptionError(Path(file.filename), [f"{problem} Save it again with stempy."])
    return owners


@dataclass(frozen=True)
class Events:
    """Counts (position, ky, kx), made of lists of pixels when they are indexed.

    Parameters
    ----------
    frames
        Lists of flat pixel numbers, one a frame.
    order
        Numbers of the frames in the order of their positions.
    starts
        Position p has the frames ``order[starts[p] : starts[p + 1]]``.
    shape
        Number of (positions, ky, kx).
    """

    frames: h5py.Dataset
    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    shape: tuple[int, int, int]
    ndim: int = 3
    dtype: np.dtype = np.dtype(np.uint16)

    def __getitem__(self, entries: Any) -> NDArray[Any]:
        try_reading(Path(self.frames.file.filename), self._read_frames, purpose="frames")
        first, *rest = entries if isinstance(entries, tuple) else (entries,)
        rows = range(self.shape[0])[first] if isinstance(first, slice) else range(first, first + 1)
        counts = np.zeros((len(rows), self.shape[1] * self.shape[2]), self.dtype)
        for pattern, row in zip(counts, rows, strict=True):
            for pixels in self._lists(self.order[self.starts[row] : self.starts[row + 1]]):
                self._count(pattern, pixels, row)
        block = counts.reshape(len(rows), *self.shape[1:])[(slice(None), *rest)]
        return block if isinstance(first, slice) else block[0]

    def _read_frames(self) -> Iterator[None]:
        """Read all lists, whose lengths vary: where one is damaged, HDF5 may search for ever."""
        for start in range(0, len(self.order), BLOCK):
            self._lists(np.arange(start, min(start + BLOCK, len(self.order))))
            yield

    def _lists(self, numbers: NDArray[np.int64]) -> Sequence[NDArray[Any]]:
        """Return the lists of some frames; those of a position mostly follow each other."""
        if len(numbers) and np.array_equal(numbers, np.arange(numbers[0], numbers[-1] + 1)):
            return list(self.frames[numbers[0] : numbers[-1] + 1])
        return [self.frames[number] for number in numbers]

    def _count(self, pattern: NDArray[Any], pixels: NDArray[Any], row: int) -> None:
        if not len(pixels):
            return
        if pixels.max() >= pattern.size:
            problem = (
                f"scan position {row} has an electron in pixel {pixels.max()}; expected less than {pattern.size}."
            )
            raise ImportDescriptionError(Path(self.frames.file.filename), [f"{problem} Save it again with stempy."])
        np.add.at(pattern, pixels, self.dtype.type(1))
