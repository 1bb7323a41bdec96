"""The section `import`: where the data of a series are, and how scan and detector were oriented."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from dptt.config.base import (
    Count,
    CountOrPair,
    CountPair,
    FileName,
    Integer,
    Number,
    NumberOrPair,
    Pair,
    Positive,
    Section,
    Sign,
    Text,
    Triple,
)


class ArrayConfig(Section):
    """An array in an HDF5, .npy or .npz file, a stack in an MRC file (.mrc, .st, ...), or numbers in a text file
    (.tlt, .txt, .csv, ...).
    """

    path: FileName
    """Path of the file; `~` and environment variables are expanded, as in ${DATA}/series.h5."""
    dataset: Text | None = None
    """Path inside the HDF5 file, or name inside the .npz file."""
    index: list[Integer] = []
    """Indices into the leading axes, to pick a part of the array."""


class ImportScanConfig(Section):
    """Scan positions: a raster with a step, or a list of positions in an array."""

    step: NumberOrPair | None = None
    """Distance between positions (scan_y, scan_x) [Å]; one number for both."""
    rotation: Number = 0.0
    """Rotation from the axes of the scan to those of the detector [degrees]."""
    centre: Pair | None = None
    """Where the rotation axis meets the beam: (scan_y, scan_x) [Å] from the first position of a raster, or in the
    coordinates of the listed positions. The middle of a raster, or the origin of a list, if left out."""
    flyback: Annotated[int, Field(ge=0)] = 0
    """Patterns at the end of every row of a raster that were recorded while the beam flew back; not imported."""
    positions: list[ArrayConfig] = []
    """Instead of `step`: one array (positions, 2) for all tilts, or one per tilt."""
    unit: Positive = 1.0
    """Unit of `positions` [Å]."""
    matrix: tuple[Pair, Pair] = ((1.0, 0.0), (0.0, 1.0))
    """Matrix from the coordinates of `positions` to (y, x)."""

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> "ImportScanConfig":
        if (self.step is None) == (not self.positions):
            raise ValueError("expected either `step` of a raster or `positions` in an array")
        if self.positions and self.flyback:
            raise ValueError(f"flyback is {self.flyback}, but `positions` are listed; expected it with `step`")
        return self


class ImportDetectorConfig(Section):
    """Calibration of the detector, and how its patterns are reordered so that the zero angle is at index n//2."""

    angular_sampling: NumberOrPair
    """Angle between pixels of the source, before binning (ky, kx) [mrad]; one number for both."""
    centre: Pair | None = None
    """Index of the zero angle (ky, kx); n//2 if left out. Patterns move by whole pixels: what is left of a fractional
    centre is reported. Pixels that then lie beyond the edge of the detector are masked."""
    zero_angle_at_corner: bool = False
    """Whether the zero angle is at pixel (0, 0), as after an FFT without a shift."""
    transpose: bool = False
    """Exchange ky and kx."""
    flip_y: bool = False
    """Reverse ky."""
    flip_x: bool = False
    """Reverse kx."""
    crop: CountPair | None = None
    """Pixels (ky, kx) to keep around the zero angle; all if left out."""
    binning: CountOrPair = (1, 1)
    """Pixels (ky, kx) to sum into one."""
    counts_per_electron: Positive = 1.0
    """Detector counts per electron."""
    mask: ArrayConfig | None = None
    """Valid pixels (ky, kx) of the source, true or non-zero; all if left out."""


Axis = Literal["x", "y", "z"]


def _each_once(axes: tuple[Axis, Axis, Axis]) -> tuple[Axis, Axis, Axis]:
    if len(set(axes)) < 3:
        raise ValueError("expected x, y and z, each once")
    return axes


Axes = Annotated[tuple[Axis, Axis, Axis], AfterValidator(_each_once)]


class ImportTruthConfig(Section):
    """Ground truth of a series simulated by another program, for `dptt analyze`."""

    volume: ArrayConfig | None = None
    """Potential [V]."""
    volume_axes: Axes = ("z", "y", "x")
    """Meaning of each axis of `volume`."""
    voxel_size: Positive | None = None
    """Edge of a voxel [Å]."""
    origin: Triple = (0.0, 0.0, 0.0)
    """Position (z, y, x) [Å] of voxel n//2 relative to the rotation centre."""
    atoms: ArrayConfig | None = None
    """Positions (atoms, 3) [Å]."""
    atoms_axes: Axes = ("z", "y", "x")
    """Meaning of each column of `atoms`."""
    atoms_centre: Triple = (0.0, 0.0, 0.0)
    """Rotation centre (z, y, x) [Å] in the coordinates of `atoms`."""
    atomic_numbers: ArrayConfig | None = None
    """Atomic number of every atom."""
    atomic_number: Count | None = None
    """Instead of `atomic_numbers`: one for all atoms."""
    tilt_angles: list[float] | None = None
    """True stage angle theta of every tilt [degrees], with the sign of `import.tilt_angles`."""
    phi: list[float] | None = None
    """True Euler angle about x of every tilt [degrees]; zero if left out."""
    psi: list[float] | None = None
    """True Euler angle about z of every tilt [degrees]; zero if left out."""
    translations: list[Pair] | None = None
    """True translation of every tilt (y, x) [Å]; zero if left out."""

    @model_validator(mode="after")
    def _complete(self) -> "ImportTruthConfig":
        if (self.volume is None) != (self.voxel_size is None):
            raise ValueError("expected `volume` and `voxel_size` together")
        if self.atoms is not None and (self.atomic_numbers is None) == (self.atomic_number is None):
            raise ValueError("atoms need either `atomic_numbers` or one `atomic_number`")
        lengths = {
            name: len(values)
            for name in ("tilt_angles", "phi", "psi", "translations")
            if (values := getattr(self, name)) is not None
        }
        if lengths and ("tilt_angles" not in lengths or len(set(lengths.values())) > 1):
            raise ValueError(
                f"true poses have the lengths {lengths}; expected `tilt_angles`, and the others as long or left out"
            )
        return self


class ImportConfig(Section):
    """A 4D-STEM tilt series in arrays of another program."""

    data: Annotated[list[ArrayConfig], Field(min_length=1)]
    """One array with a tilt axis, or one per tilt."""
    axes: Annotated[list[Literal["tilt", "position", "scan_y", "scan_x", "ky", "kx"]], Field(min_length=3)]
    """Meaning of each axis of the arrays."""
    tilt_angles: list[Number] | ArrayConfig
    """Stage angles theta [degrees]."""
    tilt_sign: Sign = 1
    """-1 if positive angles in the file rotate the specimen in the opposite direction."""
    phi: list[Number] | None = None
    """Euler angle about x of every tilt [degrees]; zero if left out."""
    psi: list[Number] | None = None
    """Euler angle about z of every tilt [degrees]; zero if left out."""
    translations: list[Pair] | None = None
    """Translation of every tilt (y, x) [Å]; zero if left out."""
    energy: Positive
    """Beam energy [eV]."""
    semiangle_cutoff: Positive
    """Convergence semi-angle [mrad]."""
    aberrations: dict[str, Number] = {}
    """C10, C12, phi12, ... [Å, degrees]; `defocus` stands for -C10, positive for underfocus."""
    scan: ImportScanConfig
    detector: ImportDetectorConfig
    probe: ArrayConfig | None = None
    """Initial probe: complex (mode, y, x) or (y, x), centred at n//2, on the pixels of the imported patterns."""
    link: bool = False
    """Link to the original patterns instead of copying them."""
    negative: Literal["error", "clip", "keep"] = "error"
    """What becomes of negative counts on valid pixels, after binning. `clip` sets them to zero, which adds to the
    mean; `keep` leaves them, but no reconstruction takes them. Patterns that are linked to are not checked."""
    source: Text = ""
    """Where the data come from; kept in the series file."""
    truth: ImportTruthConfig | None = None
    """Ground truth, if the series was simulated."""

    @model_validator(mode="after")
    def _one_true_pose_a_tilt(self) -> "ImportConfig":
        true = None if self.truth is None else self.truth.tilt_angles
        if true is not None and isinstance(self.tilt_angles, list) and len(true) != len(self.tilt_angles):
            raise ValueError(
                f"`truth.tilt_angles` has {len(true)} values and `tilt_angles` {len(self.tilt_angles)}; expected one "
                "true angle for every tilt"
            )
        return self
