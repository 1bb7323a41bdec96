"""Description of foreign arrays: their files, the meaning of their axes, the orientation of scan and detector.

Plain dataclasses; no file is opened. The section `import` of the configuration is translated into them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dptt.io.series_data import EarlierPhase

AXES = ("tilt", "position", "scan_y", "scan_x", "ky", "kx")


@dataclass(frozen=True)
class ArraySource:
    """An array in a file.

    Parameters
    ----------
    path
        A file of any format in `formats`, or a text file.
    dataset
        Path inside an HDF5 file or zarr store, or name inside .npz or .mat; None for the only large array.
    index
        Index of the leading axes: an integer removes an axis, a slice shortens it.
    scan_shape
        Number of positions along (scan_y, scan_x), if the frames of an array (position, ky, kx) are a raster.
    """

    path: str
    dataset: str | None = None
    index: tuple[int | slice, ...] = ()
    scan_shape: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """Path of the file, and of the array inside it, for messages."""
        return f"{self.path}:{self.dataset}" if self.dataset else self.path


@dataclass(frozen=True)
class RasterScan:
    """Positions of a regular scan: ``R(rotation) (step_y i - centre_y, step_x j - centre_x)``.

    A rotation by `a` is ``y = i' cos a - j' sin a``, ``x = i' sin a + j' cos a``. The scan shape is that of the data
    (axes scan_y, scan_x).

    Parameters
    ----------
    step
        Step along (scan_y, scan_x) [Å]; None if the starts of the tilts have the positions.
    rotation
        Angle from the axes of the scan to those of the detector [deg].
    centre
        Point where the rotation axis meets the beam, along (scan_y, scan_x) from the first position, before the
        rotation [Å]; None for the middle of the scan.
    flyback
        Patterns at the end of every row that were recorded while the beam flew back; they are not imported.
    """

    step: tuple[float, float] | None
    rotation: float = 0.0
    centre: tuple[float, float] | None = None
    flyback: int = 0


@dataclass(frozen=True)
class ListedPositions:
    """Positions read from an array: ``matrix (unit listed - centre)``.

    Parameters
    ----------
    sources
        One array for all tilts, (positions, 2) or (2, positions), or with a leading tilt axis; or one array per tilt.
        If the data are a raster, (scan_y, scan_x, 2) is accepted too.
    unit
        Å per unit of the array.
    centre
        Point where the rotation axis meets the beam, in the frame of the array [Å].
    matrix
        Matrix from the frame of the array to (y, x); ``((0, 1), (1, 0))`` for positions stored as (x, y).
    """

    sources: tuple[ArraySource, ...]
    unit: float = 1.0
    centre: tuple[float, float] = (0.0, 0.0)
    matrix: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 0.0), (0.0, 1.0))


@dataclass(frozen=True)
class Detector:
    """Geometry of the foreign detector, and how to convert its patterns to dptt's frame (zero angle at index n//2).

    All pairs are (ky, kx) in foreign pixels, with the axis names after `transpose`. The order is: dark and gain;
    transpose; flip
    about the zero angle and move by whole pixels, so that the zero angle is at index n//2; crop about it; bin. Pixels
    beyond the edge of the detector are masked.

    Parameters
    ----------
    angular_sampling
        Angle from foreign pixel to foreign pixel along (ky, kx) [mrad].
    centre
        Index of the zero angle, which may be fractional; None for n//2.
    zero_angle_at_corner
        The zero angle is at index 0 (FFT order, not shifted); `centre` must then be None.
    transpose
        Swap the axes ky and kx of the array.
    flip_y, flip_x
        Reverse the axis about the zero angle.
    crop
        Size of the window that is kept; None for all pixels.
    binning
        Number of pixels that are summed to one. If it is even, the zero angle lies half a foreign pixel from the
        middle of its binned pixel, unless `centre` is a half-integer.
    counts_per_electron
        Counts that one electron makes on average.
    mask
        Valid pixels (ky, kx), non-zero = valid, in the frame of the foreign patterns before `transpose`. A binned
        pixel is valid if all pixels in it are.
    dark, gain
        Images (ky, kx), or frames of which the mean is taken, in the frame of the mask: (raw - dark) x gain.
    """

    angular_sampling: tuple[float, float]
    centre: tuple[float, float] | None = None
    zero_angle_at_corner: bool = False
    transpose: bool = False
    flip_y: bool = False
    flip_x: bool = False
    crop: tuple[int, int] | None = None
    binning: tuple[int, int] = (1, 1)
    counts_per_electron: float = 1.0
    mask: ArraySource | None = None
    dark: ArraySource | None = None
    gain: ArraySource | None = None


@dataclass(frozen=True)
class TiltStart:
    """What another program found in a tilt: probe (mode, y, x), positions (positions, 2) as (y, x) [Å], and phase."""

    probe: NDArray[np.complex64]
    positions: NDArray[np.float64]
    phase: EarlierPhase | None = None


@dataclass(frozen=True)
class SeriesDescription:
    """A tilt series in foreign arrays.

    Parameters
    ----------
    sources
        One array with a tilt axis, or one array per tilt.
    axes
        Name of each axis of the arrays (after `ArraySource.index`), one of `AXES`.
    tilt_angles
        Stage tilts theta [deg], or the array that holds them.
    scan, detector
        Geometry of scan and detector.
    energy
        Beam energy [eV].
    semiangle_cutoff
        Semiangle of the probe-forming aperture [mrad].
    tilt_sign
        -1 if a positive angle in the foreign file rotates the specimen in the opposite sense.
    phi, psi
        Euler angles of each tilt [deg]; None for zero.
    translations
        Translation of each tilt, (y, x) [Å]; None for zero.
    aberrations
        `C10` ... `C30` [Å, angles in degrees]; `defocus` is accepted instead of C10 = -defocus.
    probes
        Complex (mode, y, x) or (y, x) in real space, centred at n//2, on the pixels of the imported patterns. It is
        the initial probe of a reconstruction. One for all tilts, or one per tilt.
    starts
        Instead of `probes` and the positions of `scan`: those of other reconstructions, one per tilt.
    link
        Link to the patterns instead of copying them; an error if they would have to change.
    negative
        What becomes of negative counts on valid pixels, unless the patterns are linked to.
    source, config
        Provenance, stored in the file.
    """

    sources: tuple[ArraySource, ...]
    axes: tuple[str, ...]
    tilt_angles: tuple[float, ...] | ArraySource
    scan: RasterScan | ListedPositions
    detector: Detector
    energy: float
    semiangle_cutoff: float
    tilt_sign: int = 1
    phi: tuple[float, ...] | None = None
    psi: tuple[float, ...] | None = None
    translations: tuple[tuple[float, float], ...] | None = None
    aberrations: Mapping[str, float] = field(default_factory=dict)
    probes: tuple[ArraySource, ...] = ()
    starts: tuple[TiltStart, ...] = ()
    link: bool = False
    negative: Literal["error", "clip", "keep"] = "error"
    source: str = ""
    config: str = ""

    @property
    def named_axes(self) -> tuple[str, ...]:
        """Names of the axes after `Detector.transpose`."""
        swap = {"ky": "kx", "kx": "ky"} if self.detector.transpose else {}
        return tuple(swap.get(name, name) for name in self.axes)
