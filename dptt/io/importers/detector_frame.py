"""Conversion of foreign patterns to dptt's detector frame: zero angle at n//2, flipped, cropped, binned.

Roll, flip and crop are one table of foreign pixel indices per axis, named after the transposition; bins are summed
last. Pixels that lie beyond the edge of the foreign detector were not measured: they are zero, and not valid.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dptt.io.importers.description import Detector

LARGEST_OFFSET = 0.1
"""Distance of the zero angle from the middle of its pixel [pixels] that needs no remark."""


@dataclass(frozen=True)
class DetectorFrame:
    """The foreign pixels that make up each pixel.

    Parameters
    ----------
    pixels
        Indices of the foreign pixels along ky and along kx, in order: `binning` of them per pixel, -1 beyond the
        edge.
    binning
        Pixels summed along (ky, kx).
    foreign_shape
        Number of foreign pixels along (ky, kx).
    offset
        Distance of the zero angle from the middle of pixel n//2 along (ky, kx), in pixels after binning: patterns
        move by whole foreign pixels only.
    """

    pixels: tuple[NDArray[np.int64], NDArray[np.int64]]
    binning: tuple[int, int]
    foreign_shape: tuple[int, int]
    offset: tuple[float, float] = (0.0, 0.0)

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Which kept foreign pixels (ky, kx) the detector has."""
        return (self.pixels[0] >= 0)[:, None] & (self.pixels[1] >= 0)

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
        kept[:, ~self.measured] = 0
        if self.binning == (1, 1):
            return kept
        return self._bins(kept).sum(axis=(2, 4), dtype=binned_type(patterns.dtype, self.binning))

    def apply_to_mask(self, mask: NDArray[Any]) -> NDArray[np.bool_]:
        """Return the valid pixels (ky, kx). A pixel is valid if all its foreign pixels are, and were measured."""
        kept = mask[None, self.pixels[0][:, None], self.pixels[1]].astype(bool) & self.measured
        return np.asarray(self._bins(kept).all(axis=(0, 2, 4)))

    def _bins(self, kept: NDArray[Any]) -> NDArray[Any]:
        """Return (n, ky, bin_y, kx, bin_x)."""
        return kept.reshape(len(kept), self.shape[0], self.binning[0], self.shape[1], self.binning[1])


def frame_fits(detector: Detector, shape: tuple[int, int]) -> bool:
    """Return whether patterns (ky, kx) of `shape` can be cropped and binned as asked."""
    sizes = zip(shape, detector.crop or shape, detector.binning, strict=True)
    return all(1 <= crop <= size and bins >= 1 and crop % bins == 0 for size, crop, bins in sizes)


def detector_frame(detector: Detector, foreign_shape: tuple[int, int]) -> DetectorFrame:
    """Return the frame for foreign patterns of `foreign_shape` (ky, kx)."""
    centre = detector.centre or (float(foreign_shape[0] // 2), float(foreign_shape[1] // 2))
    if detector.zero_angle_at_corner:
        centre = (0.0, 0.0)
    crop = detector.crop or foreign_shape
    flips = (detector.flip_y, detector.flip_x)
    (y, offset_y), (x, offset_x) = (
        foreign_pixels(
            foreign_shape[axis],
            centre[axis],
            kept=crop[axis],
            binning=detector.binning[axis],
            flip=flips[axis],
            periodic=detector.zero_angle_at_corner,
        )
        for axis in (0, 1)
    )
    return DetectorFrame((y, x), detector.binning, foreign_shape, (offset_y, offset_x))


def foreign_pixels(
    size: int, centre: float, *, kept: int, binning: int, flip: bool, periodic: bool
) -> tuple[NDArray[np.int64], float]:
    """Return the foreign indices, in order, that bring the zero angle to the middle of binned pixel n//2.

    Patterns move by whole pixels; also returned is how far the zero angle then lies from that middle, in pixels after
    binning.

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
    periodic
        Whether indices wrap around the edge, as after an FFT; if not, those beyond the edge are -1.
    """
    place = (kept // binning // 2) * binning + (binning - 1) / 2  # of the zero angle, in kept foreign pixels
    steps = np.arange(kept, dtype=np.int64)
    exact = centre + place if flip else centre - place
    nearest = {math.floor(exact + 0.5), math.ceil(exact - 0.5)}  # two where it lies halfway: more is measured in one
    rows = {first: first - steps if flip else first + steps for first in sorted(nearest, reverse=True)}
    first = max(rows, key=lambda start: int(((rows[start] >= 0) & (rows[start] < size)).sum()))
    indices = rows[first]
    inside = (indices >= 0) & (indices < size)
    kept_indices = indices % size if periodic else np.where(inside, indices, -1)
    return kept_indices, (abs(centre - first) - place) / binning


def frame_remarks(detector: Detector, frame: DetectorFrame) -> list[str]:
    """Return what of the foreign detector does not fit the frame exactly, as sentences."""
    remarks = []
    if max(map(abs, frame.offset)) > LARGEST_OFFSET:
        y, x = (o * a * b for o, a, b in zip(frame.offset, detector.angular_sampling, detector.binning, strict=True))
        remarks.append(
            f"the zero angle lies ({frame.offset[0]:+.2f}, {frame.offset[1]:+.2f}) pixels, or ({y:+.3g}, {x:+.3g}) "
            "mrad, from the middle of pixel n//2 (ky, kx), because patterns move by whole pixels only; it acts as a "
            "tilt of the beam. Refine the probe, or choose a binning for which import.detector.centre is exact: odd "
            "for whole numbers, even for half ones."
        )
    missing = [int((pixels < 0).sum()) for pixels in frame.pixels]
    if any(missing):
        size = [f - m for f, m in zip((len(p) for p in frame.pixels), missing, strict=True)]
        remarks.append(
            f"{missing[0]} rows and {missing[1]} columns of the {len(frame.pixels[0])} x {len(frame.pixels[1])} "
            f"pixels about the zero angle lie beyond the edge of the detector, which covers {size[0]} x {size[1]} of "
            "them, and are masked. Set import.detector.crop to leave such pixels out."
        )
    return remarks


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
