"""The sections `volume`, `reconstruction` and `analysis`."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from dptt.config.base import (
    Count,
    CountOrZero,
    FileName,
    Fraction,
    NotNegative,
    Number,
    Positive,
    Repeats,
    Section,
    Seed,
    StepFraction,
    Text,
)
from dptt.config.calibration import CalibrationConfig, CalibrationOfOneTiltConfig
from dptt.config.stage import AngleUncertainty


class VolumeConfig(Section):
    """The grid of the potential. What is left out is derived from the series."""

    voxel_size: Positive | None = None
    """Edge of a voxel [Å]. If left out, the pixel that the angular range of the detector allows; or two thirds of it
    where the detector reaches less than 1.4 semi-angles of the probe, so that much is scattered past its edge, unless
    `shape` or `angular_padding` is set. A smaller voxel extends the detector by unmeasured angles, a larger one crops
    it. Rounded so that the probe window has whole pixels."""
    angular_padding: Annotated[Number, Field(ge=1, le=4)] = 1.0
    """Largest angle of the waves over that of the voxels, rounded up so that slices have whole pixels. Above 1, waves
    scattered beyond the detector leave it, instead of returning on its opposite side. The volume stays as it is; the
    time of the waves grows with the square."""
    shape: tuple[Count, Count, Count] | None = None
    """Voxels (z, y, x); if left out, large enough for the scan and the probe window, and as deep as wide."""
    thickness: Positive | None = None
    """Depth along the beam [Å], instead of `shape`. Set it if the specimen is thinner than the scanned area is
    wide."""
    num_slices: Count | None = None
    """Number of slices along the beam."""
    slice_thickness: Positive | None = None
    """Thickness of a slice [Å], instead of `num_slices`; a fifth of the probe's depth of field if both are left
    out."""
    extended: bool = False
    """Whether the specimen continues beyond the scan, as a film or a support does. The volume then holds all that
    the beam passes through at any tilt: 1/cos(tilt) times as wide across the tilt axis, and as deep as a tilted
    specimen of `thickness`; beyond that depth, about the plane of the rotation axis, it is vacuum."""
    margin: CountOrZero = 5
    """Voxels kept free on every side of the scanned area. Raise it if refined positions leave the volume."""
    periodic: bool = False
    """Whether the specimen repeats in y and x with the volume, as in data simulated in a periodic cell."""
    kind: Literal["complex", "real"] = "complex"
    """`complex` includes absorption in the imaginary part, `real` has none and takes half the memory."""

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> "VolumeConfig":
        if self.num_slices is not None and self.slice_thickness is not None:
            raise ValueError("expected `num_slices` or `slice_thickness`, not both")
        if self.shape is not None and self.thickness is not None:
            raise ValueError("expected `shape` or `thickness`, not both")
        if self.shape is not None and self.num_slices is not None and self.shape[0] % self.num_slices:
            raise ValueError(f"{self.shape[0]} planes cannot be cut into num_slices = {self.num_slices} equal slices")
        if self.extended and self.thickness is None:
            raise ValueError("an `extended` specimen needs its `thickness`: the grid follows from it and the tilts")
        if self.extended and self.periodic:
            raise ValueError("expected `extended` or `periodic`, not both")
        if self.periodic and self.shape is None:
            raise ValueError("a periodic volume needs its `shape`: the cell of the data in voxels")
        return self


class RefinementConfig(Section):
    """Whether and when a parameter beside the volume is refined."""

    from_epoch: Count | None = None
    """First epoch (counted from 1) that refines it; null keeps it fixed."""
    step: StepFraction = 1.0
    """Fraction of the step that the curvature of the loss allows. Reduce it if the parameter oscillates."""


def _refinement(value: object) -> object:
    """Accept null, false, no or off for a parameter that is not refined, and a number for its first epoch."""
    if value is None or value is False or (isinstance(value, str) and value.lower() in ("no", "off")):
        return {"from_epoch": None}
    return {"from_epoch": value} if isinstance(value, int | str) else value


class ProbeConfig(RefinementConfig):
    """The probe of every tilt."""

    modes: Annotated[Count, Field(le=1024)] = 1
    """Mutually incoherent modes of the probe; ignored for tilts that have a probe in the series. Raise it for partial
    coherence: a finite source or a focal spread."""
    amplitude: Literal["pattern", "aperture"] = "pattern"
    """Amplitude of the initial probe: `pattern` takes the bright disk of the mean pattern, `aperture` an ideal
    one."""


_Shorthand = Count | Literal[False, "no", "off"] | None
_CalibrationShorthand = _Shorthand | Literal["auto"]
Refinement = Annotated[
    RefinementConfig, BeforeValidator(_refinement, json_schema_input_type=RefinementConfig | _Shorthand)
]


class RegularisationConfig(Section):
    """Constraints on the volume.

    Soft thresholds are fractions of the typical potential of the current volume. They count for one pass of a tilt;
    each minibatch applies its share.
    """

    nonnegativity: Fraction = 1.0
    """Fraction of negative Re V that is removed after each minibatch. Set 0 if the specimen fills the view, so that
    there is no vacuum at 0 V."""
    nonnegative_absorption: bool = True
    """Whether Im V < 0, a specimen that emits electrons, is set to zero after each minibatch."""
    l1: NotNegative = 0.003
    """Soft threshold of Re V. It also fixes the constant that no intensity determines: vacuum is 0 V. Set 0 if there
    is no vacuum."""
    l1_from_epoch: Count = 1
    """First epoch (counted from 1) with `l1`."""
    l1_half_life: Positive | None = None
    """Epochs in which `l1` falls to one half; null keeps it constant. A strong threshold while the volume forms keeps
    tilts from fitting their patterns at a wrong pose; a weak one at the end leaves the tails of the atoms and does
    not pull poses."""
    shrinkage: NotNegative = 0.005
    """Soft threshold of Im V ([P] eq. 17)."""
    butterworth_cutoff: Positive | None = None
    """Cut-off of a low-pass filter after each epoch [1/Å]; no filter if left out."""
    butterworth_order: Count = 2
    """Order of the low-pass filter: higher orders cut off more sharply."""
    layer_weight: NotNegative = 0.0
    """Weight of a filter along the beam after each tilt; 0 for none. It damps what one tilt cannot resolve in
    depth."""
    layer_strength: Fraction = 1.0
    """Largest fraction by which the layer filter damps a spatial frequency."""
    vacuum: bool = False
    """Whether the finished volume gets the vacuum around the specimen at 0 V, and in the specimen the smooth
    potential that the patterns ask for, instead of what the constraints leave: for the total potential. It has no
    effect on specimens that fill the scanned area, nor in `ptychography`."""


FEW_ELECTRONS = 2.0
"""Per pixel of an average pattern: below, the amplitude of a count is on average well below that of its mean."""


class SolverConfig(Section):
    """What ptychography of one tilt and reconstruction from all tilts have in common. The defaults suit most
    series.
    """

    epochs: Repeats = 8
    """Passes over all patterns. Raise it while the held-out loss still falls."""
    step: StepFraction = 1.0
    """Fraction of the step that the curvature of the loss allows. An epoch that raises the loss is undone and
    repeated with half of it; reduce it to save that time."""
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.5
    """Fraction of the previous update that is added to the next; 0 for none. Above 0.5 steps are shorter for
    that."""
    batches: Annotated[Count, Field(le=65536)] = 4
    """Minibatches of adjacent scan positions per tilt. More minibatches make more updates in an epoch, each of them
    noisier, and need less memory."""
    loss: Literal["auto", "amplitude", "poisson"] = "auto"
    """What is minimised: the difference of amplitudes, or the negative log-likelihood of Poisson counts. `auto` is
    `poisson` where the patterns are whole counts with fewer than 2 electrons per pixel on average, and `amplitude`
    otherwise: the amplitude of so few counts is on average smaller than that of their mean."""
    epsilon: Positive = 1e-6
    """Lower limit of the modelled intensities, as a fraction of the mean electrons per pixel of a tilt; `poisson`
    adds half an electron."""
    validation_fraction: Annotated[Number, Field(ge=0, le=0.5)] = 0.02
    """Fraction of the patterns held out of every update. Their loss shows overfitting."""
    probe: Annotated[ProbeConfig, BeforeValidator(_refinement, json_schema_input_type=ProbeConfig | _Shorthand)] = (
        ProbeConfig(from_epoch=2)
    )
    """The probe of every tilt, and when it is refined."""
    positions: Refinement = RefinementConfig()
    """When scan positions are refined."""
    calibration: Annotated[
        CalibrationConfig,
        BeforeValidator(_refinement, json_schema_input_type=CalibrationConfig | _CalibrationShorthand),
    ] = CalibrationConfig()
    """When errors of the experiment are looked for, and which."""
    regularisation: RegularisationConfig = RegularisationConfig()
    precision: Literal["single", "double", "fast"] = "single"
    """`double` is for checks. `fast` is `single` with half-precision products in the adjoint on the tensor cores of a
    GPU, if the kernel supports them; their error in the gradient is measured and logged in every epoch."""
    chunk_memory: Positive = 4.0
    """Memory for the waves computed at once on a CPU [MiB]; on a GPU it follows from `distribution.memory`."""
    data_memory: NotNegative = 8192.0
    """Memory for patterns per rank [MiB]. Patterns that need more are read from the file again in every epoch."""
    seed: Seed = 0
    """Seed of the orders and of the held-out patterns."""

    def loss_for(self, electrons: float | None) -> Literal["amplitude", "poisson"]:
        """Return what is minimised for patterns of so many electrons per pixel; None if they are no counts."""
        if self.loss != "auto":
            return self.loss
        return "poisson" if electrons is not None and electrons < FEW_ELECTRONS else "amplitude"


class PtychographyConfig(SolverConfig):
    """Ptychography of every tilt alone, for its probe, scan positions and projected potential ([P] Algorithm 1)."""

    calibration: Annotated[
        CalibrationOfOneTiltConfig,
        BeforeValidator(_refinement, json_schema_input_type=CalibrationOfOneTiltConfig | _CalibrationShorthand),
    ] = CalibrationOfOneTiltConfig()
    """When errors of the experiment are looked for, and which."""
    thickness: Positive | None = None
    """Thickness of all slices together [Å]; the depth of the volume if left out."""
    num_slices: Count | None = None
    """Number of slices; if left out, enough for slices of at most 0.4 depths of field."""
    edge_crop: NotNegative = 0.0
    """Leave out scan positions nearer than this to the edge of the scanned area [Å]."""


class ReconstructionConfig(SolverConfig):
    """Reconstruction of one volume from the patterns of all tilts ([P] Algorithm 3)."""

    tilt_order: Literal["random", "sequential"] = "random"
    """Order of the tilts in an epoch; [P] uses `sequential`."""
    every: Count = 1
    """Use only every n-th pattern of each tilt, beginning with `offset`."""
    offset: CountOrZero = 0
    """First pattern to use: the others are `offset + every`, `offset + 2 every`, ..."""
    angles: Refinement = RefinementConfig()
    """When the Euler angles of the tilts are refined."""
    angle_uncertainty: AngleUncertainty = AngleUncertainty()
    """Standard deviations of the angles at the start, against which refined ones are weighed."""
    translations: Refinement = RefinementConfig()
    """When the translations of the tilts are refined."""
    exclude: list[Text] = []
    """Names of tilts to leave out."""
    weigh_tilts: bool = True
    """Whether to reduce the weight of tilts that the volume cannot explain; the report names them."""

    @model_validator(mode="after")
    def _offset_below_every(self) -> "ReconstructionConfig":
        if self.offset >= self.every:
            raise ValueError(f"offset ({self.offset}) must be smaller than every ({self.every})")
        return self


def _half_sets(value: object) -> object:
    """Accept null, which stood for `auto` before half-sets were made by default."""
    two_names = isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(name, str) for name in value)
    if not (value is None or value == "auto" or isinstance(value, bool) or two_names):
        raise ValueError("expected `auto`, true, false, or the names of two volume files")
    return "auto" if value is None else value


class AnalysisConfig(Section):
    """What `dptt analyze` measures, and how."""

    half_sets: Annotated[
        Literal["auto"] | bool | tuple[FileName, FileName],
        BeforeValidator(_half_sets, json_schema_input_type=Literal["auto"] | bool | tuple[FileName, FileName] | None),
    ] = "auto"
    """Two volumes from independent halves of the patterns, for the FSC between them and the noise of every peak.
    `auto`: `dptt run` reconstructs them in `half_1` and `half_2` of its folder, which doubles the time, unless the
    series has a true potential to compare with. `true` does so in any case, `false` never; or the names of two volume
    files."""
    min_separation: Annotated[Positive, Field(le=100)] = 1.5
    """Minimum distance between traced atoms [Å]. Set it a little below the shortest bond."""
    atom_threshold: Positive | None = None
    """Minimum potential at the peak of an atom [V]; determined from the volume if left out."""
    match_distance: Positive = 0.7
    """Maximum distance of a traced atom from its true position [Å]."""
    mask_radius: Positive | None = None
    """Radius of a soft spherical mask before the FSC [Å]; no mask if left out."""
