"""The sections `volume`, `reconstruction` and `analysis`."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from dptt.config.base import Count, Fraction, NotNegative, Positive, Section, Seed


class VolumeConfig(Section):
    """The grid of the potential; what is left out is derived from the series."""

    voxel_size: Positive | None = None
    """[Å]; the pixel that the detector's angular range allows if left out. A smaller one extends the detector by
    unmeasured angles, a larger one crops it; it is rounded so that the probe window has whole pixels."""
    shape: tuple[Count, Count, Count] | None = None
    """Voxels (z, y, x); large enough for the scan and the probe window if left out, and as deep as wide."""
    thickness: Positive | None = None
    """Depth [Å], instead of the first number of `shape`."""
    num_slices: Count | None = None
    """Slices along the beam."""
    slice_thickness: Positive | None = None
    """[Å]; a fifth of the probe's depth of field if neither is given."""
    margin: Annotated[int, Field(ge=0)] = 5
    """Voxels kept free around the scanned area."""
    periodic: bool = False
    """The specimen repeats in y and x with the volume (data simulated in a periodic cell)."""
    kind: Literal["complex", "real"] = "complex"
    """With or without absorption."""

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> "VolumeConfig":
        if self.num_slices is not None and self.slice_thickness is not None:
            raise ValueError("expected `num_slices` or `slice_thickness`, not both")
        if self.shape is not None and self.thickness is not None:
            raise ValueError("expected `shape` or `thickness`, not both")
        if self.shape is not None and self.num_slices is not None and self.shape[0] % self.num_slices:
            raise ValueError(f"{self.shape[0]} planes cannot be cut into num_slices = {self.num_slices} equal slices")
        if self.periodic and self.shape is None:
            raise ValueError("a periodic volume needs its `shape`: the cell of the data in voxels")
        return self


class RefinementConfig(Section):
    """Whether a nuisance parameter is refined inside the loop."""

    from_epoch: Annotated[int, Field(ge=1)] | None = None
    """First epoch (counted from 1) that updates it; null keeps it fixed."""
    step: Positive = 1.0
    """Fraction of the step that the curvature of the loss allows."""


def _refinement(value: object) -> object:
    """Let null or false switch a refinement off, and a number say when it starts."""
    if value is None or value is False:
        return {"from_epoch": None}
    return {"from_epoch": value} if isinstance(value, int) and value is not True else value


class ProbeConfig(RefinementConfig):
    """The illumination of every tilt."""

    modes: Count = 1
    """Mutually incoherent modes, where the series has no probe of its own."""
    amplitude: Literal["pattern", "aperture"] = "pattern"
    """Of the starting probe: the mean pattern's bright disk, or an ideal aperture."""


Refinement = Annotated[RefinementConfig, BeforeValidator(_refinement)]


class RegularisationConfig(Section):
    """Constraints on the volume. Thresholds are fractions of the typical potential, per pass of a tilt."""

    nonnegativity: Fraction = 1.0
    """Fraction of negative Re V removed after each minibatch."""
    nonnegative_absorption: bool = True
    """Im V < 0 is set to zero after each minibatch."""
    l1: NotNegative = 0.003
    """Soft threshold of Re V; it also settles the constant that no intensity determines."""
    l1_from_epoch: Count = 1
    l1_half_life: Positive | None = None
    """Epochs in which `l1` falls to one half; null keeps it. Strong while the volume forms, weak in the end."""
    shrinkage: NotNegative = 0.005
    """Soft threshold of Im V ([P] eq. 17)."""
    butterworth_cutoff: Positive | None = None
    """Of a low-pass filter after each epoch [1/Å]."""
    butterworth_order: Count = 2
    layer_weight: NotNegative = 0.0
    """Of the filter along the beam after each tilt; 0 for none."""
    layer_strength: Fraction = 1.0


class SolverConfig(Section):
    """What ptychography of one tilt and the end-to-end reconstruction have in common. Every default works."""

    epochs: Count = 8
    step: Positive = 1.0
    """Fraction of the step that the curvature of the loss allows."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    batches: Count = 4
    """Minibatches of adjacent scan positions a tilt."""
    loss: Literal["amplitude", "poisson"] = "amplitude"
    epsilon: Positive = 1e-6
    """Floor of the intensities, as a fraction of the mean electrons per pixel."""
    validation_fraction: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    """Fraction of the patterns kept out of every update, for an honest loss."""
    probe: Annotated[ProbeConfig, BeforeValidator(_refinement)] = ProbeConfig(from_epoch=2)
    positions: Refinement = RefinementConfig()
    regularisation: RegularisationConfig = RegularisationConfig()
    precision: Literal["single", "double", "fast"] = "single"
    """`fast` is single with products of half precision in the adjoint, on a GPU's tensor cores where its kernel has a
    form for them; their error in the gradient is measured and logged in every epoch."""
    chunk_memory: Positive = 4.0
    """Memory for the waves held at once [MiB]; that of a GPU follows from `distribution.memory`."""
    data_memory: NotNegative = 8192.0
    """Patterns are kept in memory up to this [MiB] a rank, and read anew every epoch beyond."""
    seed: Seed = 0


class PtychographyConfig(SolverConfig):
    """[P] Algorithm 1: every tilt alone, for its probe, its scan positions and its projected potential."""

    thickness: Positive | None = None
    """Depth of the slices together [Å]; that of the volume if left out."""
    num_slices: Count | None = None
    """As many as the depth of field asks for if left out."""
    edge_crop: NotNegative = 0.0
    """Scan positions nearer than this to the edge of the scanned area [Å] are left out."""


class ReconstructionConfig(SolverConfig):
    """[P] Algorithm 3: one volume from all tilts."""

    tilt_order: Literal["random", "sequential"] = "random"
    every: Count = 1
    """Use every n-th pattern only, ..."""
    offset: Annotated[int, Field(ge=0)] = 0
    """... beginning with this one: two runs with different offsets are independent half-sets."""
    angles: Refinement = RefinementConfig()
    translations: Refinement = RefinementConfig()
    exclude: list[str] = []
    """Names of tilts that take no part."""
    weigh_tilts: bool = True
    """Tilts that the volume cannot explain count less; the report names them."""

    @model_validator(mode="after")
    def _offset_below_every(self) -> "ReconstructionConfig":
        if self.offset >= self.every:
            raise ValueError(f"offset ({self.offset}) must be smaller than every ({self.every})")
        return self


class AnalysisConfig(Section):
    """What `dptt analyze` measures."""

    half_sets: tuple[str, str] | None = None
    """Two volume files reconstructed from independent patterns; the truth in the series serves if left out."""
    min_separation: Positive = 1.5
    """Between traced atoms [Å]."""
    atom_threshold: Positive | None = None
    """Smallest peak of an atom [V]; found automatically if left out."""
    match_distance: Positive = 0.7
    """Largest distance of a traced atom from its true position [Å]."""
    mask_radius: Positive | None = None
    """Of a soft spherical mask before the FSC [Å]; none if left out."""
