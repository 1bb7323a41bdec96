"""The section `simulation`: specimen, microscope, scan, tilts and exposure."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dptt.config.base import (
    Count,
    CountOrZero,
    CountPair,
    Degrees,
    Energy,
    FileName,
    NotNegative,
    Number,
    NumberOrPair,
    Pair,
    Positive,
    RepeatsOrZero,
    Section,
    Seed,
    Text,
    Triple,
    Turn,
)
from dptt.config.experiment import ExperimentConfig

Displacement = Annotated[NotNegative, Field(le=10)]
"""Of an atom that belongs to a structure [Å]."""
Shape = Literal["sphere", "cube", "octahedron"]


class _Specimen(Section):
    orientation: Triple = (0.0, 0.0, 0.0)
    """Euler angles (phi, theta, psi) [degrees] that rotate the structure first."""
    rms_displacement: Displacement | dict[str, Displacement] = 0.08
    """Thermal displacement along one axis, rms [Å]: one value for all elements, or one for each."""


class StructureFile(_Specimen):
    """Atoms from a file: XYZ (also .gz), CIF, or any other format that ASE reads."""

    kind: Literal["file"]
    path: FileName
    """Path of the file; `~` and environment variables are expanded. Or a crystal that dptt has: crystal:Pt,
    crystal:gamma-Al2O3, crystal:SrTiO3."""
    repeat: tuple[Count, Count, Count] | None = None
    """Copies of the unit cell along a, b and c."""
    shape: Shape | None = None
    """Shape to cut about the centre; nothing is cut if left out."""
    diameter: Positive | None = None
    """Diameter of the cut shape [Å]."""
    seed: Seed = 0
    """Seed of the elements on sites that several occupy."""
    smallest_distance: NotNegative = 0.5
    """Distance [Å]; a structure with atoms closer to each other is rejected."""


class Nanoparticle(_Specimen):
    """A crystal of one element, cut to a shape."""

    kind: Literal["nanoparticle"]
    element: Text
    """Chemical symbol."""
    diameter: Positive
    """Diameter of the particle [Å]."""
    shape: Shape = "sphere"
    """Shape of the particle."""
    lattice_constant: Positive | None = None
    """Lattice constant [Å]; the literature value of the element if left out."""


class Alloy(_Specimen):
    """An fcc particle whose sites are occupied by several elements at random."""

    kind: Literal["alloy"]
    fractions: dict[str, Positive]
    """Relative numbers of atoms by element, as in {Ni: 1, Pt: 2}."""
    diameter: Positive
    """Diameter of the particle [Å]."""
    lattice_constant: Positive
    """Lattice constant [Å]."""
    shape: Shape = "sphere"
    """Shape of the particle."""
    static_displacement: NotNegative = 0.0
    """Lattice distortion along one axis, rms [Å]."""
    seed: Seed = 0
    """Seed of occupation and distortion."""


class CoreShell(_Specimen):
    """A crystal inside another, from two unit cells, as in [P]."""

    kind: Literal["core-shell"]
    core: FileName
    """Path of the core's unit cell; `~` and environment variables are expanded. Or a crystal that dptt has, such as
    crystal:Pt."""
    shell: FileName
    """Path of the shell's unit cell, or a crystal that dptt has."""
    core_diameter: Positive
    """Diameter of the core [Å]."""
    shell_diameter: Positive
    """Outer diameter of the shell [Å]."""
    shape: Shape = "cube"
    """Shape of core and shell."""
    gap: NotNegative = 1.5
    """Distance [Å]; shell atoms closer to the core are left out."""
    seed: Seed = 0
    """Seed of the elements on sites that several occupy."""


class Amorphous(_Specimen):
    """A random packing of atoms that keep a minimum distance."""

    kind: Literal["amorphous"]
    fractions: dict[str, Positive]
    """Relative numbers of atoms by element."""
    diameter: Positive
    """Diameter of the particle [Å]."""
    number_density: Positive
    """Atoms per Å³."""
    nearest_distance: Positive
    """Minimum distance of two atoms [Å]."""
    shape: Shape = "sphere"
    """Shape of the particle."""
    seed: Seed = 0
    """Seed of the packing."""


class TelluriumOnNanotube(_Specimen):
    """A tellurium particle beside a carbon nanotube that lies along the tilt axis, as in [P]."""

    kind: Literal["tellurium-on-nanotube"]
    diameter: Positive
    """Diameter of the particle [Å]."""
    shape: Shape = "sphere"
    """Shape of the particle."""
    crystal_orientation: Triple = (0.0, 0.0, 0.0)
    """Euler angles [degrees] that rotate only the particle; without rotation its chains (c) lie along y."""
    chirality: tuple[Count, CountOrZero] = (5, 5)
    """Chiral indices (n, m) of the tube."""
    tube_length: Positive
    """Length of the tube [Å], rounded to whole periods."""
    gap: Positive = 3.0
    """Distance between the nearest Te and C atoms [Å]."""


SpecimenConfig = Annotated[
    StructureFile | Nanoparticle | Alloy | CoreShell | Amorphous | TelluriumOnNanotube, Field(discriminator="kind")
]


class MicroscopeConfig(Section):
    """Beam, probe and detector."""

    energy: Energy
    """Beam energy [eV]."""
    semiangle_cutoff: Positive
    """Convergence semi-angle [mrad]."""
    aberrations: dict[str, Number] = {}
    """C10, C12, phi12, C21, ... [Å, degrees] in the plane of the rotation axis; `defocus` stands for -C10, positive
    for underfocus."""
    reported_aberrations: dict[str, Number] | None = None
    """Aberrations to write into the file instead of the true ones."""
    focal_spread: NotNegative = 0.0
    """Standard deviation of the defocus, from the energy spread [Å]."""
    source_size: NotNegative = 0.0
    """Standard deviation of the effective source, in the plane of the specimen [Å]."""
    detector_shape: CountPair
    """Pixels (ky, kx)."""
    largest_angle: Positive
    """Scattering angle at the edge of the detector's shorter side [mrad]."""


class ScanConfig(Section):
    """Probe positions of every tilt."""

    shape: CountPair
    """Number of positions (y, x)."""
    step: NumberOrPair
    """Distance between positions (y, x) [Å]; one number for both."""
    rotation: Degrees = 0.0
    """Scan rotation a [degrees]: row i and column j lie at y = i cos a - j sin a, x = i sin a + j cos a."""
    reported_rotation: Degrees | None = None
    """Scan rotation to write into the file instead of the true one [degrees]."""
    jitter: NotNegative = 0.0
    """Random error of every position along one axis, rms [Å]."""
    drift: Pair = (0.0, 0.0)
    """Drift of the specimen during the scan of each tilt (y, x) [Å]."""


class TiltsConfig(Section):
    """Stage angles, and the errors of poses and focus."""

    angles: list[Degrees] | None = None
    """Stage angles [degrees]; or use `start`, `stop` and `step`."""
    start: Degrees | None = None
    """First stage angle [degrees]."""
    stop: Degrees | None = None
    """Last stage angle [degrees], included."""
    step: Positive | None = None
    """Distance between stage angles [degrees]."""
    angle_errors: tuple[Turn, Turn, Turn] = (0.0, 0.0, 0.0)
    """Maximum difference of the true (phi, theta, psi) from the nominal ones in the file [degrees]."""
    translation_error: NotNegative = 0.0
    """Maximum true translation along y and along x [Å]; the file says zero."""
    defocus_error: NotNegative = 0.0
    """Maximum difference of the true defocus of a tilt from that of the microscope [Å]; not in the file."""

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> "TiltsConfig":
        range_keys = sum(key is not None for key in (self.start, self.stop, self.step))
        if range_keys != (3 if self.angles is None else 0):
            raise ValueError("expected either `angles`, or all of `start`, `stop` and `step`")
        return self


class MultisliceConfig(Section):
    """Numerical accuracy of the simulation."""

    slice_thickness: Positive = 1.0
    """Thickness of a slice [Å]."""
    integration: Literal["projected", "linear", "finite"] = "projected"
    """How atoms are put into slices: each in that of its centre; shared by the two nearest, so that its mean depth is
    right (with slices of 3 Å better than `projected` with 1 Å); or by its extension along the beam."""
    oversampling: Annotated[Number, Field(ge=1)] | None = None
    """Largest angle of the simulated wave relative to that of the detector. Waves are cut off at 2/3 of it. If left
    out, 1.5 (1 + semiangle_cutoff / largest_angle): all that is scattered from one edge of the bright disk to the
    other edge of the detector is there."""
    frozen_phonons: RepeatsOrZero = 0
    """Number of frozen-phonon configurations to average; 0 smears the potential instead (Debye-Waller factor)."""
    power_kept: Annotated[Number, Field(gt=0, le=1)] = 0.9995
    """Minimum fraction of the electrons in the modes of a partially coherent probe: the more, the more modes."""


class SimulationConfig(Section):
    """A simulated tilt series with known ground truth."""

    specimen: SpecimenConfig
    microscope: MicroscopeConfig
    scan: ScanConfig
    tilts: TiltsConfig
    fluence: Positive
    """Electrons per Å² in each tilt."""
    shot_noise: bool = True
    """Whether patterns are Poisson counts; otherwise they are expected values."""
    multislice: MultisliceConfig = MultisliceConfig()
    experiment: ExperimentConfig = ExperimentConfig()
    seed: Seed = 0
    """Seed of jitter, pose errors, errors of the experiment, phonons and shot noise."""
