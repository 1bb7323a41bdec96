"""Scan positions of a foreign series as (y, x) [Å] relative to the point where the rotation axis meets the beam."""

import math

import numpy as np
from numpy.typing import NDArray

from dptt.io.importers.description import ListedPositions, RasterScan


def raster_positions(scan: RasterScan, scan_shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the positions (scan_y * scan_x, 2) of a regular scan, x fastest [Å].

    Parameters
    ----------
    scan
        Step [Å], rotation [deg] and centre [Å].
    scan_shape
        Number of positions along (scan_y, scan_x).
    """
    assert scan.step is not None, "positions that the starts of the tilts do not have"
    lengths = [(count - 1) * step for count, step in zip(scan_shape, scan.step, strict=True)]
    centre = scan.centre or (lengths[0] / 2, lengths[1] / 2)
    along_y = np.arange(scan_shape[0]) * scan.step[0] - centre[0]
    along_x = np.arange(scan_shape[1]) * scan.step[1] - centre[1]
    i, j = np.meshgrid(along_y, along_x, indexing="ij")
    angle = math.radians(scan.rotation)
    y = i * math.cos(angle) - j * math.sin(angle)
    x = i * math.sin(angle) + j * math.cos(angle)
    return np.stack([y.ravel(), x.ravel()], axis=-1)


def listed_positions(scan: ListedPositions, listed: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the positions (n, 2) [Å] of an array (n, 2), (scan_y, scan_x, 2) or (2, n) in the frame of its file."""
    listed = listed.T if listed.ndim == 2 and listed.shape[1] != 2 else listed
    centred = listed.reshape(-1, 2).astype(np.float64) * scan.unit - np.asarray(scan.centre)
    return centred @ np.asarray(scan.matrix).T
