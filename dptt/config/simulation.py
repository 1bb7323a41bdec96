"""The `simulation` section: specimen, microscope, scan, tilts, exposure."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from dptt.config.base import (
    Count,
    CountPair,
    NotNegative,
    Pair,
    Positive,
    PositivePair,
    Section,
    Seed,
    Triple,
    as_pair,
)

Shape = Literal["sphere", "cube", "octahedron"]


class _Specimen(Section):
    orientation: Triple = (0.0, 0.0, 0.0)
    """Euler angles (phi, theta, psi) [degrees] that turn the structure before anything else."""
    rms_displacement: NotNegative | dict[str, NotNegative] = 0.08
    """Thermal displacement along one axis [Å]: one for all, or one for each element."""


class StructureFile(_Specimen):
    """Atoms of a file: XYZ (also .gz), CIF, or anything else that ASE reads."""

    kind: Literal["file"]
    path: str
    repeat: tuple[Count, Count, Count] | None = None
    """Copies of the unit cell."""
    shape: Shape | None = None
    diameter: Positive | None = None
    """Cut of this shape and size [Å] about the centre."""
    seed: Seed = 0
    smallest_distance: NotNegative = 0.5
    """Atoms nearer to each other than this [Å] are refused."""


class Nanoparticle(_Specimen):
    """A crystal of one element, cut to a shape."""

    kind: Literal["nanoparticle"]
    element: str
    diameter: Positive
    """[Å]"""
    shape: Shape = "sphere"
    lattice_constant: Positive | None = None
    """[Å]; the element's own if left out."""


class Alloy(_Specimen):
    """An fcc particle whose sites several elements occupy at random."""

    kind: Literal["alloy"]
    fractions: dict[str, Positive]
    diameter: Positive
    """[Å]"""
    lattice_constant: Positive
    """[Å]"""
    shape: Shape = "sphere"
    static_displacement: NotNegative = 0.0
    """Lattice distortion along one axis, rms [Å]."""
    seed: Seed = 0


class CoreShell(_Specimen):
    """A crystal inside another, from two unit cells, as in [P]."""

    kind: Literal["core-shell"]
    core: str
    shell: str
    core_diameter: Positive
    shell_diameter: Positive
    shape: Shape = "cube"
    gap: NotNegative = 1.5
    """Shell atoms nearer to the core than this [Å] are left out."""
    seed: Seed = 0


class Amorphous(_Specimen):
    """A random packing with a smallest distance."""

    kind: Literal["amorphous"]
    fractions: dict[str, Positive]
    diameter: Positive
    number_density: Positive
    """Atoms per Å³."""
    nearest_distance: Positive
    """[Å]"""
    shape: Shape = "sphere"
    seed: Seed = 0


class TelluriumOnNanotube(_Specimen):
    """A Te particle beside a carbon nanotube along the tilt axis, as in [P]."""

    kind: Literal["tellurium-on-nanotube"]
    diameter: Positive
    """Of the particle [Å]."""
    shape: Shape = "sphere"
    crystal_orientation: Triple = (0.0, 0.0, 0.0)
    """Euler angles [degrees] that turn the particle alone; its chains (c) lie along y before."""
    chirality: tuple[Count, Annotated[int, Field(ge=0)]] = (5, 5)
    """(n, m) of the tube."""
    tube_length: Positive
    """[Å], rounded to whole periods."""
    gap: Positive = 3.0
    """Between the nearest Te and C atoms [Å]."""


SpecimenConfig = Annotated[
    StructureFile | Nanoparticle | Alloy | CoreShell | Amorphous | TelluriumOnNanotube, Field(discriminator="kind")
]


class MicroscopeConfig(Section):
    """Beam, probe and detector."""

    energy: Positive
    """Beam energy [eV]."""
    semiangle_cutoff: Positive
    """Convergence semi-angle [mrad]."""
    aberrations: dict[str, float] = {}
    """C10, C12, phi12, C21, ... [Å, degrees] in the plane of the rotation axis; `defocus` stands for -C10."""
    reported_aberrations: dict[str, float] | None = None
    """What the file says instead of the truth."""
    focal_spread: NotNegative = 0.0
    """Standard deviation of the defocus [Å]."""
    source_size: NotNegative = 0.0
    """Standard deviation of the effective source [Å]."""
    detector_shape: CountPair
    """Pixels (ky, kx)."""
    largest_angle: Positive
    """Scattering angle at the edge of the detector's shorter side [mrad]."""


class ScanConfig(Section):
    """Probe positions of every tilt."""

    shape: CountPair
    """Positions (y, x)."""
    step: Annotated[PositivePair, BeforeValidator(as_pair)]
    """(y, x) [Å]."""
    rotation: float = 0.0
    """Angle a [degrees]: y = i cos a - j sin a, x = i sin a + j cos a of row i and column j."""
    reported_rotation: float | None = None
    """What the file says instead of the truth [degrees]."""
    jitter: NotNegative = 0.0
    """Random error of every position along one axis, rms [Å]."""
    drift: Pair = (0.0, 0.0)
    """Of the specimen during each tilt (y, x) [Å]."""


class TiltsConfig(Section):
    """Stage angles, and how wrong they are."""

    angles: list[float] | None = None
    """Stage angles [degrees]; or start, stop and step."""
    start: float | None = None
    stop: float | None = None
    step: Positive | None = None
    angle_errors: tuple[NotNegative, NotNegative, NotNegative] = (0.0, 0.0, 0.0)
    """Largest errors of the true (phi, theta, psi) [degrees]; the file holds the nominal poses."""
    translation_error: NotNegative = 0.0
    """Largest true translation along y and x [Å]."""
    defocus_error: NotNegative = 0.0
    """Largest difference of a tilt's true defocus from the microscope's [Å]; the file does not know it."""

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> "TiltsConfig":
        given = sum(part is not None for part in (self.start, self.stop, self.step))
        if given != (3 if self.angles is None else 0):
            raise ValueError("expected either `angles`, or all of `start`, `stop` and `step`")
        return self


class MultisliceConfig(Section):
    """How finely the wave is computed."""

    slice_thickness: Positive = 1.0
    """[Å]"""
    oversampling: Annotated[float, Field(ge=1)] = 2.0
    """Pixels of the wave per detector pixel."""
    frozen_phonons: Annotated[int, Field(ge=0)] = 0
    """Configurations averaged; 0 smears the potential instead (Debye-Waller)."""


class SimulationConfig(Section):
    """A tilt series with known truth."""

    specimen: SpecimenConfig
    microscope: MicroscopeConfig
    scan: ScanConfig
    tilts: TiltsConfig
    fluence: Positive
    """Electrons per Å² and tilt."""
    shot_noise: bool = True
    multislice: MultisliceConfig = MultisliceConfig()
    seed: Seed = 0
