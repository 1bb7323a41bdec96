"""What foreign arrays are: where they lie, what their axes mean, and how scan and detector were oriented.

Plain dataclasses; nothing is opened here. The program's configuration is translated into them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

AXES = ("tilt", "position", "scan_y", "scan_x", "ky", "kx")


@dataclass(frozen=True)
class ArraySource:
    """An array in a file.

    Parameters
    ----------
    path
        An HDF5 (also MATLAB 7.3, EMD, NeXus), .npy or .npz file.
    dataset
        Path inside an HDF5 file, or name inside .npz; None for .npy.
    index
        Applied to the leading axes: an integer removes an axis, a slice shortens it.
    """

    path: str
    dataset: str | None = None
    index: tuple[int | slice, ...] = ()


@dataclass(frozen=True)
class RasterScan:
    """Positions of a regular scan: ``R(rotation) (step_y i - centre_y, step_x j - centre_x)``.

    ``y = i' cos a - j' sin a`` and ``x = i' sin a + j' cos a`` for a rotation by `a`. The scan shape is that of the
    data (axes scan_y, scan_x).

    Parameters
    ----------
    step
        Along (scan_y, scan_x) [Å].
    rotation
        Angle from the scan's axes to the detector's [deg].
    centre
        Where the rotation axis meets the beam, along (scan_y, scan_x) from the first position, before the rotation
        [Å]; None for the middle of the scan.
    """

    step: tuple[float, float]
    rotation: float = 0.0
    centre: tuple[float, float] | None = None


@dataclass(frozen=True)
class ListedPositions:
    """Positions read from an array: ``matrix (unit listed - centre)``.

    Parameters
    ----------
    sources
        One array for all tilts, (positions, 2), or with a leading tilt axis; or one array per tilt. A raster
        (scan_y, scan_x, 2) is accepted where the data are one.
    unit
        Å per unit of the array.
    centre
        Where the rotation axis meets the beam, in the array's frame [Å].
    matrix
        From the array's frame to (y, x); ``((0, 1), (1, 0))`` for positions stored as (x, y).
    """

    sources: tuple[ArraySource, ...]
    unit: float = 1.0
    centre: tuple[float, float] = (0.0, 0.0)
    matrix: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 0.0), (0.0, 1.0))


@dataclass(frozen=True)
class Detector:
    """How a foreign pattern becomes one with the zero angle at index n//2.

    All pairs are (ky, kx) in foreign pixels, named as after `transpose`. The order is: transpose; roll by whole
    pixels (and flip about the zero angle) so that the zero angle comes to its place; crop about it; bin.

    Parameters
    ----------
    angular_sampling
        Angle from foreign pixel to foreign pixel along (ky, kx) [mrad].
    centre
        Index of the zero angle, may have a fraction; None for n//2.
    zero_angle_at_corner
        The zero angle is at index 0 (an FFT that was not shifted); `centre` must then be None.
    transpose
        The array's axis called ky is kx, and the other way round.
    flip_y, flip_x
        Reverse the axis about the zero angle.
    crop
        Size of the window that is kept; None for all.
    binning
        Pixels that are summed to one. For an even number the zero angle lies half a foreign pixel from the middle
        of its binned pixel, unless `centre` has a fraction of one half.
    counts_per_electron
        Counts that one electron makes on average.
    mask
        Valid pixels (ky, kx), non-zero = valid, in the frame of the foreign patterns before `transpose`; a binned
        pixel is valid if all its pixels are.
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


@dataclass(frozen=True)
class SeriesDescription:
    """A tilt series in foreign arrays.

    Parameters
    ----------
    sources
        One array with a tilt axis, or one array per tilt.
    axes
        Meaning of each axis of the arrays (after `ArraySource.index`), out of `AXES`.
    tilt_angles
        Stage tilts theta [deg], or where to read them.
    scan, detector
        Geometry.
    energy
        Of the beam [eV].
    semiangle_cutoff
        Of the probe-forming aperture [mrad].
    tilt_sign
        -1 if a positive angle of the foreign file turns the specimen the other way.
    phi, psi
        Of each tilt [deg]; None for zero.
    translations
        Of each tilt, (y, x) [Å]; None for zero.
    aberrations
        `C10` ... `C30` [Å, angles in degrees]; `defocus` is accepted for -C10.
    probe
        Complex (mode, y, x) or (y, x) in real space, centred at n//2, on the pixels of the imported patterns; the
        start of a reconstruction, the same for all tilts.
    link
        Leave the patterns where they are and link to them; an error if anything would have to be changed in them.
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
    probe: ArraySource | None = None
    link: bool = False
    source: str = ""
    config: str = ""

    @property
    def named_axes(self) -> tuple[str, ...]:
        """The axes' names after `Detector.transpose`."""
        swap = {"ky": "kx", "kx": "ky"} if self.detector.transpose else {}
        return tuple(swap.get(name, name) for name in self.axes)
