"""Foreign patterns brought to dptt's detector frame: zero angle at n//2, flipped, cropped, binned.

Roll, flip and crop are one table of foreign pixel indices per axis, named after the transposition; bins are summed
last.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dptt.io.importers.description import Detector


@dataclass(frozen=True)
class DetectorFrame:
    """The foreign pixels that make up each pixel.

    Parameters
    ----------
    pixels
        Indices of the foreign pixels along ky and along kx, in order: `binning` of them per pixel.
    binning
        Pixels summed along (ky, kx).
    foreign_shape
        Number of foreign pixels along (ky, kx).
    """

    pixels: tuple[NDArray[np.int64], NDArray[np.int64]]
    binning: tuple[int, int]
    foreign_shape: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of pixels along (ky, kx)."""
        return len(self.pixels[0]) // self.binning[0], len(self.pixels[1]) // self.binning[1]

    @property
    def changes_nothing(self) -> bool:
        """Whether the foreign patterns can be used as they are."""
        unchanged = (np.array_equal(p, np.arange(n)) for p, n in zip(self.pixels, self.foreign_shape, strict=True))
        return self.binning == (1, 1) and all(unchanged)

    def apply(self, patterns: NDArray[Any]) -> NDArray[Any]:
        """Return patterns (n, ky, kx) in dptt's frame; binned integers get a type wide enough for any sum."""
        if self.changes_nothing:
            return patterns
        kept = patterns[:, self.pixels[0][:, None], self.pixels[1]]
        if self.binning == (1, 1):
            return kept
        return self._bins(kept).sum(axis=(2, 4), dtype=binned_type(patterns.dtype, self.binning))

    def apply_to_mask(self, mask: NDArray[Any]) -> NDArray[np.bool_]:
        """Return the valid pixels (ky, kx). A pixel is valid if all its foreign pixels are."""
        kept = mask[None, self.pixels[0][:, None], self.pixels[1]].astype(bool)
        return np.asarray(self._bins(kept).all(axis=(0, 2, 4)))

    def _bins(self, kept: NDArray[Any]) -> NDArray[Any]:
        """Return (n, ky, bin_y, kx, bin_x)."""
        return kept.reshape(len(kept), self.shape[0], self.binning[0], self.shape[1], self.binning[1])


def detector_frame(detector: Detector, foreign_shape: tuple[int, int]) -> DetectorFrame:
    """Return the frame for foreign patterns of `foreign_shape` (ky, kx)."""
    centre = detector.centre or (float(foreign_shape[0] // 2), float(foreign_shape[1] // 2))
    if detector.zero_angle_at_corner:
        centre = (0.0, 0.0)
    crop = detector.crop or foreign_shape
    flips = (detector.flip_y, detector.flip_x)
    y, x = (
        foreign_pixels(
            foreign_shape[axis], centre[axis], kept=crop[axis], binning=detector.binning[axis], flip=flips[axis]
        )
        for axis in (0, 1)
    )
    return DetectorFrame((y, x), detector.binning, foreign_shape)


def foreign_pixels(size: int, centre: float, *, kept: int, binning: int, flip: bool) -> NDArray[np.int64]:
    """Return the foreign indices, in order, that bring the zero angle to the middle of binned pixel n//2.

    The roll is rounded to whole pixels; indices wrap around the edge.

    Parameters
    ----------
    size
        Foreign pixels along the axis.
    centre
        Foreign index of the zero angle.
    kept
        Number of foreign pixels to keep, a multiple of `binning`.
    binning
        Foreign pixels per pixel.
    flip
        Whether the axis is reversed about the zero angle.
    """
    place = (kept // binning // 2) * binning + (binning - 1) / 2  # of the zero angle, in kept foreign pixels
    steps = np.arange(kept, dtype=np.int64)
    if flip:
        return (math.floor(centre + place + 0.5) - steps) % size
    return (math.floor(centre - place + 0.5) + steps) % size


def binned_type(dtype: np.dtype, binning: tuple[int, int]) -> np.dtype:
    """Return the smallest type of the same kind that holds any sum of a bin."""
    pixels = binning[0] * binning[1]
    if dtype.kind not in "iu":
        return dtype
    limits = np.iinfo(dtype)
    extreme = pixels * (int(limits.min) if dtype.kind == "i" else int(limits.max))
    kinds = (np.int16, np.int32, np.int64) if dtype.kind == "i" else (np.uint16, np.uint32, np.uint64)
    wide_enough = [np.dtype(kind) for kind in kinds if np.iinfo(kind).min <= extreme <= np.iinfo(kind).max]
    return wide_enough[0] if wide_enough else np.dtype(kinds[-1])
