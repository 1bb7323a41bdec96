"""The section `import`: where the data of a series are, and how scan and detector were oriented."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from dptt.config.base import (
    Count,
    CountOrPair,
    CountOrZero,
    CountPair,
    Energy,
    FileName,
    Number,
    NumberOrPair,
    Pair,
    Positive,
    Section,
    Sign,
    Text,
    Triple,
)
from dptt.config.foreign_arrays import (
    ArrayConfig,
    ArrayOrPath,
    ArraysOrPaths,
    NumbersOrFile,
    PairsOrFile,
    TiltAngles,
)


def _refuse_useless(section: Section, names: tuple[str, ...], why: str, cure: str) -> None:
    """Raise ValueError if the section sets any of `names`, which have no effect."""
    useless = [name for name in names if getattr(section, name) != type(section).model_fields[name].default]
    if useless:
        raise ValueError(f"{', '.join(useless)} has no effect, because {why}; leave it out, or {cure}")


class ImportScanConfig(Section):
    """Scan positions: a raster with a step, which the file may tell, or a list of positions in an array."""

    shape: CountPair | None = None
    """Number of positions (scan_y, scan_x) of a raster whose patterns are one long list in the file."""
    step: NumberOrPair | None = None
    """Distance between positions (scan_y, scan_x) [Å]; one number for both."""
    rotation: Number = 0.0
    """Rotation from the axes of the scan to those of the detector [degrees]."""
    centre: Pair | None = None
    """Where the rotation axis meets the beam: (scan_y, scan_x) [Å] from the first position of a raster, or in the
    coordinates of the listed positions. The middle of a raster, or the origin of a list, if left out."""
    flyback: Annotated[int, Field(ge=0)] = 0
    """Patterns at the end of every row of a raster that were recorded while the beam flew back; not imported."""
    positions: ArraysOrPaths = []
    """Instead of `step`: one array (positions, 2) for all tilts, or one per tilt."""
    unit: Positive = 1.0
    """Unit of `positions` [Å]."""
    matrix: tuple[Pair, Pair] = ((1.0, 0.0), (0.0, 1.0))
    """Matrix from the coordinates of `positions` to (y, x)."""

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> "ImportScanConfig":
        if self.step is not None and self.positions:
            raise ValueError("expected either `step` of a raster or `positions` in an array")
        if self.positions and self.flyback:
            raise ValueError(f"flyback is {self.flyback}, but `positions` are listed; expected it with `step`")
        if self.positions:
            _refuse_useless(self, ("rotation",), "`positions` are listed", "turn them with `matrix`")
        else:
            _refuse_useless(self, ("unit", "matrix"), "no `positions` are listed", "set `step` and `rotation`")
        return self


class ImportDetectorConfig(Section):
    """Calibration of the detector, and how its patterns are reordered so that the zero angle is at index n//2."""

    angular_sampling: NumberOrPair | None = None
    """Angle between pixels of the source, before binning (ky, kx) [mrad]; one number for both. From the file if left
    out."""
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
    dark: ArrayOrPath | None = None
    """Image of the detector without a beam, or frames of which the mean is taken, in the pixels of the source;
    subtracted. The patterns become float32."""
    gain: ArrayOrPath | None = None
    """Image by which the patterns are multiplied after `dark` is subtracted."""
    mask: ArrayOrPath | None = None
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
        if self.volume is None:
            _refuse_useless(self, ("volume_axes", "origin"), "there is no `volume`", "add one")
        if self.atoms is None:
            names = ("atoms_axes", "atoms_centre", "atomic_numbers", "atomic_number")
            _refuse_useless(self, names, "there are no `atoms`", "add them")
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


AxisNames = Annotated[list[Literal["tilt", "position", "scan_y", "scan_x", "ky", "kx"]], Field(min_length=3)]


def _data_of_arrays(data: list[ArrayConfig], known: Any) -> list[ArrayConfig]:
    if not data and known.data.get("kind") == "arrays":
        raise ValueError("missing; this key is required: the files of patterns")
    return data


TOLD_BY_PUBLISHED = (
    "data",
    "axes",
    "tilt_angles",
    "tilt_sign",
    "phi",
    "psi",
    "translations",
    "probe",
    "start",
    "scan",
    "truth",
)
"""What the published files tell, so that it cannot be set beside them."""


class ImportConfig(Section):
    """A 4D-STEM tilt series in files of another program."""

    kind: Literal["arrays", "zenodo13060513"] = "arrays"
    """`arrays` for files of patterns; `zenodo13060513` for the published data of You et al. 2025, in `folder`."""
    folder: FileName | None = None
    """For `zenodo13060513`: the folder with NUMBER.zip and NUMBER.h5 of every tilt; and .npy files of the poses."""
    tilts: list[CountOrZero] | None = None
    """For `zenodo13060513`: numbers of the tilts that the poses belong to; all in `folder` if left out."""
    iterations: dict[CountOrZero, CountOrZero] = {}
    """For `zenodo13060513`: by the number of a tilt, the iteration whose probe and positions are taken; the last if
    left out."""
    data: Annotated[ArraysOrPaths, AfterValidator(_data_of_arrays), Field(validate_default=True)] = []
    """One array with a tilt axis, or one per tilt; paths, which may have wildcards."""
    axes: AxisNames | None = None
    """Meaning of each axis of the arrays; from the file if left out."""
    tilt_angles: TiltAngles | None = None
    """Stage angles theta [degrees]: a list, a file (.tlt, .rawtlt, .mdoc, .csv, any array), or where they are in the
    names of the files. If left out, they come from the files, or from what in their names can only be an angle."""
    tilt_sign: Sign = 1
    """-1 if positive angles in the file rotate the specimen in the opposite direction."""
    phi: NumbersOrFile | None = None
    """Euler angle about x of every tilt [degrees], or a file of them; zero if left out."""
    psi: NumbersOrFile | None = None
    """Euler angle about z of every tilt [degrees], or a file of them; zero if left out."""
    translations: PairsOrFile | None = None
    """Translation of every tilt (y, x) [Å], or a file of them; zero if left out."""
    energy: Energy | None = None
    """Beam energy [eV]; from the file if left out."""
    semiangle_cutoff: Positive | None = None
    """Convergence semi-angle [mrad]; from the file if left out."""
    aberrations: dict[str, Number] = {}
    """C10, C12, phi12, ... [Å, degrees]; `defocus` stands for -C10, positive for underfocus."""
    scan: ImportScanConfig = ImportScanConfig()
    detector: ImportDetectorConfig = ImportDetectorConfig()
    probe: ArraysOrPaths | None = None
    """Initial probe: complex (mode, y, x) or (y, x), centred at n//2, on the pixels of the imported patterns; one for
    all tilts, or a list of one per tilt."""
    start: ArraysOrPaths | None = None
    """Result files of PtyRAD, py4DSTEM or PtychoShelves (fold_slice), one per tilt, whose probe and scan positions
    are taken; paths, which may have wildcards. The middle of the positions is taken to lie on the rotation axis."""
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
    def _what_the_kind_needs(self) -> "ImportConfig":
        published = self.kind != "arrays"
        names = TOLD_BY_PUBLISHED if published else ("folder", "tilts", "iterations")
        fields = ImportConfig.model_fields
        useless = [name for name in names if getattr(self, name) != fields[name].default]
        if useless:
            raise ValueError(f"kind is {self.kind}; expected no {', '.join(useless)} beside it")
        if self.start and (self.probe or self.scan.positions):
            raise ValueError("`start` has probe and positions; expected no `probe` and no `scan.positions` beside it")
        if self.start:
            _refuse_useless(self.scan, ("rotation", "centre"), "`start` has the positions", "import without `start`")
        if published and self.folder is None:
            raise ValueError(f"kind is {self.kind}; expected `folder` beside it")
        return self

    @model_validator(mode="after")
    def _one_true_pose_a_tilt(self) -> "ImportConfig":
        true = None if self.truth is None else self.truth.tilt_angles
        if true is not None and isinstance(self.tilt_angles, list) and len(true) != len(self.tilt_angles):
            raise ValueError(
                f"`truth.tilt_angles` has {len(true)} values and `tilt_angles` {len(self.tilt_angles)}; expected one "
                "true angle for every tilt"
            )
        return self
