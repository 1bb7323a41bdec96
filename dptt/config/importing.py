"""The `import` section: what foreign arrays are, and how scan and detector were oriented."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from dptt.config.base import Count, CountPair, Pair, Positive, PositivePair, Section, as_pair


class ArrayConfig(Section):
    """An array in an HDF5, .npy or .npz file."""

    path: str
    """Environment variables are filled in: ${DATA}/series.h5."""
    dataset: str | None = None
    """Path inside the HDF5 file, or name inside the .npz."""
    index: list[int] = []
    """Integers applied to the leading axes."""


class ImportScanConfig(Section):
    """Scan positions: a raster described by its step, or listed in an array."""

    step: Annotated[PositivePair | None, BeforeValidator(as_pair)] = None
    """(scan_y, scan_x) [Å]."""
    rotation: float = 0.0
    """From the scan's axes to the detector's [degrees]."""
    centre: Pair | None = None
    """Where the rotation axis meets the beam, (scan_y, scan_x) [Å] from the first position, or in the frame of the
    listed positions; the middle of a raster if left out."""
    positions: list[ArrayConfig] = []
    """One array (positions, 2), or one per tilt, instead of `step`."""
    unit: Positive = 1.0
    """Å per unit of `positions`."""
    matrix: tuple[Pair, Pair] = ((1.0, 0.0), (0.0, 1.0))
    """From the frame of `positions` to (y, x)."""

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> "ImportScanConfig":
        if (self.step is None) == (not self.positions):
            raise ValueError("expected either `step` of a raster or `positions` in an array")
        return self


class ImportDetectorConfig(Section):
    """How a foreign pattern becomes one with the zero angle at index n//2."""

    angular_sampling: Annotated[PositivePair, BeforeValidator(as_pair)]
    """Angle between foreign pixels (ky, kx) [mrad]."""
    centre: Pair | None = None
    """Index of the zero angle (ky, kx); n//2 if left out."""
    zero_angle_at_corner: bool = False
    transpose: bool = False
    flip_y: bool = False
    flip_x: bool = False
    crop: CountPair | None = None
    """Pixels kept about the zero angle."""
    binning: Annotated[CountPair, BeforeValidator(as_pair)] = (1, 1)
    counts_per_electron: Positive = 1.0
    mask: ArrayConfig | None = None


Axis = Literal["x", "y", "z"]


def _each_once(axes: tuple[Axis, Axis, Axis]) -> tuple[Axis, Axis, Axis]:
    if len(set(axes)) < 3:
        raise ValueError("expected x, y and z, each once")
    return axes


Axes = Annotated[tuple[Axis, Axis, Axis], AfterValidator(_each_once)]


class ImportTruthConfig(Section):
    """Known answer of a foreign simulation, kept for `dptt analyze`."""

    volume: ArrayConfig | None = None
    """Potential [V]."""
    volume_axes: Axes = ("z", "y", "x")
    voxel_size: Positive | None = None
    """[Å]"""
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Coordinate (z, y, x) [Å] of voxel n//2 relative to the rotation centre."""
    atoms: ArrayConfig | None = None
    """Positions (atoms, 3) [Å]."""
    atoms_axes: Axes = ("z", "y", "x")
    atoms_centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Rotation centre (z, y, x) [Å] in the frame of the atoms."""
    atomic_numbers: ArrayConfig | None = None
    atomic_number: Count | None = None
    """Of all atoms, instead of `atomic_numbers`."""

    @model_validator(mode="after")
    def _complete(self) -> "ImportTruthConfig":
        if (self.volume is None) != (self.voxel_size is None):
            raise ValueError("expected `volume` and `voxel_size` together")
        if self.atoms is not None and (self.atomic_numbers is None) == (self.atomic_number is None):
            raise ValueError("atoms need either `atomic_numbers` or one `atomic_number`")
        return self


class ImportConfig(Section):
    """Foreign 4D-STEM arrays."""

    data: Annotated[list[ArrayConfig], Field(min_length=1)]
    """One array with a tilt axis, or one per tilt."""
    axes: Annotated[list[Literal["tilt", "position", "scan_y", "scan_x", "ky", "kx"]], Field(min_length=3)]
    """Meaning of each axis of the arrays."""
    tilt_angles: list[float] | ArrayConfig
    """Stage angles theta [degrees]."""
    tilt_sign: Literal[-1, 1] = 1
    """-1 if positive angles of the foreign file turn the specimen the other way."""
    phi: list[float] | None = None
    psi: list[float] | None = None
    translations: list[Pair] | None = None
    """(y, x) [Å]"""
    energy: Positive
    """Beam energy [eV]."""
    semiangle_cutoff: Positive
    """[mrad]"""
    aberrations: dict[str, float] = {}
    """C10, C12, phi12, ... [Å, degrees]; `defocus` stands for -C10."""
    scan: ImportScanConfig
    detector: ImportDetectorConfig
    probe: ArrayConfig | None = None
    """Complex (mode, y, x) or (y, x), centred at n//2, on the pixels of the imported patterns."""
    link: bool = False
    """Link to the foreign patterns instead of copying them."""
    source: str = ""
    """Where the data come from, for the record."""
    truth: ImportTruthConfig | None = None
