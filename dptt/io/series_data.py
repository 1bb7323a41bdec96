"""The data that a tilt-series file is written from: a header, and per tilt the patterns in one of four forms."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SeriesHeader:
    """What all tilts of a series have in common.

    Parameters
    ----------
    energy
        Beam energy [eV].
    semiangle_cutoff
        Semiangle of the probe-forming aperture [mrad].
    angular_sampling
        Angle from pixel to pixel of the detector along (y, x) [mrad].
    aberrations
        `C10`, `C12`, `phi12`, ... -> value [Å, angles in degrees]; all others are zero.
    creator, created, source, config
        Provenance: program, time, origin of the data, configuration as YAML text.
    """

    energy: float
    semiangle_cutoff: float
    angular_sampling: tuple[float, float]
    aberrations: Mapping[str, float] = field(default_factory=dict)
    creator: str = ""
    created: str = ""
    source: str = ""
    config: str = ""


@dataclass(frozen=True)
class ElectronEvents:
    """Patterns as a list of electron events.

    Parameters
    ----------
    indices
        Flat pixel index ``ky * num_kx + kx`` of every electron, pattern after pattern, shape (events,).
    offsets
        Pattern p has the events ``offsets[p] : offsets[p + 1]``; shape (positions + 1,).
    detector_shape
        Number of pixels along (ky, kx).
    """

    indices: NDArray[np.integer]
    offsets: NDArray[np.integer]
    detector_shape: tuple[int, int]


@dataclass(frozen=True)
class ExternalPatterns:
    """Patterns that stay in another HDF5 file, with axes and zero angle as dptt expects them.

    Parameters
    ----------
    file
        Absolute, or relative to the folder of the series.
    dataset
        Path inside `file`.
    """

    file: str
    dataset: str


@dataclass(frozen=True)
class StoredTilt:
    """A tilt that another process has written to a file of its own, see `dataset_writer.write_tilts`.

    Parameters
    ----------
    path
        The file.
    name
        The tilt in it, such as 0007.
    """

    path: Path
    name: str


@dataclass(frozen=True)
class EarlierPhase:
    """Phase of the object that another program found in a tilt, to compare with.

    Parameters
    ----------
    program
        Its name.
    phase
        (y, x), summed over slices [rad].
    pixel_size
        (y, x) [Å].
    axis
        Pixel (y, x) at which the rotation axis is taken to meet the beam.
    """

    program: str
    phase: NDArray[np.floating]
    pixel_size: tuple[float, float]
    axis: tuple[float, float]


@dataclass(frozen=True)
class TiltData:
    """One tilt to be written.

    Parameters
    ----------
    patterns
        Counts (positions, ky, kx) or (scan_y, scan_x, ky, kx); or blocks (n, ky, kx), in the order of the scan; or
        electron events; or a link.
    scan_positions
        (positions, 2) as (y, x) [Å] relative to the rotation axis.
    euler_angles
        (phi, theta, psi) [deg]; theta is the stage tilt.
    translation
        (y, x) [Å].
    scan_shape
        Number of positions along (y, x), for blocks or events of a raster scan.
    counts_per_electron
        Counts that one electron makes on average.
    aberrations
        Aberrations that differ from those of the series [Å, angles in degrees].
    probe
        (mode, y, x) in real space, centred at n//2.
    mask
        (ky, kx), True = valid pixel.
    earlier_phase
        Of another program's reconstruction.
    """

    patterns: NDArray[Any] | ElectronEvents | ExternalPatterns | Iterable[NDArray[Any]]
    scan_positions: NDArray[np.floating]
    euler_angles: tuple[float, float, float]
    translation: tuple[float, float] = (0.0, 0.0)
    scan_shape: tuple[int, int] | None = None
    counts_per_electron: float = 1.0
    aberrations: Mapping[str, float] = field(default_factory=dict)
    probe: NDArray[np.complexfloating] | None = None
    mask: NDArray[np.bool_] | None = None
    earlier_phase: EarlierPhase | None = None
