"""Parts of a series that represent it, so that the time of a check does not grow with the series."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dptt.assembly.usable_pixels import evenly_spaced
from dptt.io.dataset import Tilt

SAMPLE_BYTES = 32 * 2**20
"""Patterns of one tilt that are read for one check."""
POSITIONS = 1000
"""Positions whose nearest neighbour is looked for."""


@dataclass(frozen=True)
class CentralPart(Tilt):
    """The central rectangle of the raster of a tilt; reads like a tilt."""

    _numbers: NDArray[np.int64] = field(repr=False)

    def scan_positions(self) -> NDArray[np.float64]:
        """Return the positions (n, 2) of the part as (y, x) [Å]."""
        return super().scan_positions()[self._numbers]

    def quick_to_read(self) -> NDArray[np.int64]:
        """Return the numbers of all patterns of the part, which is small."""
        return np.arange(self.num_positions)

    def read(self, indices: slice | NDArray[np.integer]) -> NDArray[Any]:
        """Return patterns of the part by their numbers within it."""
        return super().read(self._numbers[indices])


def central_part(tilt: Tilt, largest: int) -> Tilt:
    """Return the central part of a raster, at most `largest` positions a side, and of any other scan all."""
    if tilt.scan_shape is None or max(tilt.scan_shape) <= largest:
        return tilt
    rows, columns = (np.arange((n - min(n, largest)) // 2, (n + min(n, largest)) // 2) for n in tilt.scan_shape)
    numbers = (rows[:, None] * tilt.scan_shape[1] + columns[None, :]).ravel()
    values = {one.name: getattr(tilt, one.name) for one in fields(Tilt)}
    values |= {"scan_shape": (len(rows), len(columns)), "num_positions": len(numbers)}
    return CentralPart(**values, _numbers=numbers)


def spread(tilts: Sequence[Tilt], number: int) -> list[Tilt]:
    """Return at most `number` tilts, evenly spaced, the first and the last among them."""
    chosen = np.unique(np.linspace(0, len(tilts) - 1, number).round().astype(int))
    return [tilts[index] for index in chosen]


def least_tilted(tilts: Sequence[Tilt], number: int) -> list[Tilt]:
    """Return the `number` tilts of smallest stage angle."""
    return sorted(tilts, key=lambda tilt: abs(tilt.euler_angles[1]))[:number]


def patterns_in_sample(tilt: Tilt, most: int) -> int:
    """Return how many patterns of a tilt one check may read, up to `most`."""
    size = int(np.prod(tilt.detector_shape)) * tilt.dtype.itemsize
    return max(1, min(most, tilt.num_positions, SAMPLE_BYTES // size))


def sampled_patterns(tilt: Tilt, most: int = 256) -> NDArray[Any]:
    """Return up to `most` patterns (n, ky, kx) spread over the scan, in the detector's type."""
    return tilt.read(evenly_spaced(tilt.quick_to_read(), patterns_in_sample(tilt, most)))


def typical_step(positions: NDArray[np.float64]) -> float:
    """Return the median distance [Å] from a position to the nearest other one."""
    if len(positions) < 2:
        return 0.0
    asked = positions[:: max(1, len(positions) // POSITIONS)]
    return float(np.median(cKDTree(positions).query(asked, k=2)[0][:, 1]))
