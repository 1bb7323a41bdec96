"""What the page shows of the patterns of every tilt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ScanMap:
    """One number of each of some scan positions.

    Attributes
    ----------
    title, unit : str
        What it is.
    values : array (n,)
        NaN where unknown.
    indices : array (n,), optional
        Positions to which they belong; all, if left out.
    colours : str
        Name of a colour map in `page.COLOUR_MAPS`.
    """

    title: str
    unit: str
    values: NDArray[np.floating]
    indices: NDArray[np.integer] | None = None
    colours: str = "gray"


@dataclass(frozen=True)
class MeasuredTilt:
    """What was measured in one tilt, and what the volume makes of it. Patterns have the zero angle at ``n // 2``.

    Attributes
    ----------
    name : str
        Name of the tilt.
    theta : float
        Tilt angle [°].
    positions : array (n, 2)
        Scan positions (y, x) [Å].
    step : float
        Distance between neighbours [Å].
    mean : array (ky, kx)
        Mean pattern [electrons per pixel].
    maps : mapping
        Short name -> `ScanMap`.
    sampled : array (m,)
        Positions whose patterns follow.
    measured : array (m, ky, kx)
        [electrons per pixel].
    modelled : array (m, ky, kx), optional
        [electrons per pixel]; None without a volume.
    """

    name: str
    theta: float
    positions: NDArray[np.floating]
    step: float
    mean: NDArray[np.floating]
    maps: Mapping[str, ScanMap]
    sampled: NDArray[np.integer]
    measured: NDArray[np.floating]
    modelled: NDArray[np.floating] | None = None


@dataclass(frozen=True)
class Diffraction:
    """The patterns of all tilts, on one grid.

    Attributes
    ----------
    tilts : sequence
        `MeasuredTilt`, in order of angle.
    sampling : tuple
        (ky, kx) of a pixel [mrad].
    semiangle : float
        Convergence semi-angle [mrad].
    """

    tilts: Sequence[MeasuredTilt]
    sampling: tuple[float, float]
    semiangle: float
