"""The settings of [P] Algorithm 3. None has a default: what they mean and their defaults stand in `dptt.config`.

A setting is the option of the same name in `config.reconstruction` or `config.distribution`; only differences are
explained here. Epochs count from 0 in the solver and from 1 in the configuration.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """Whether and when a nuisance parameter is refined inside the loop."""

    start: int | None
    """First epoch (from 0) that updates it; None keeps it fixed."""
    step: float

    def active(self, epoch: int) -> bool:
        """Return whether `epoch` updates the parameter."""
        return self.start is not None and epoch >= self.start


@dataclass(frozen=True, kw_only=True)
class CalibrationSettings:
    """Which errors of the experiment are looked for, and when; see `solvers.tomography.calibration`."""

    start: int | None
    """First epoch (from 0) after which they are; None for never."""
    epochs: int
    scan: bool
    scan_strain: bool
    scan_scale: bool
    descan: bool
    focus: bool
    background: bool
    blur: bool
    fraction: float

    def active(self, epoch: int) -> bool:
        """Return whether `epoch` ends with a calibration."""
        return self.start is not None and self.start <= epoch < self.start + self.epochs

    def sets_aside(self, epoch: int) -> bool:
        """Return whether the patterns that calibrate take no part in `epoch`."""
        return self.start is not None and epoch < self.start + self.epochs


@dataclass(frozen=True, kw_only=True)
class Regularisation:
    """Constraints on the volume; see `solvers.tomography.constraints`."""

    nonnegativity: float
    nonnegative_absorption: bool
    l1: float
    l1_start: int
    """First epoch (from 0) with `l1`."""
    l1_half_life: float | None
    shrinkage: float
    butterworth_cutoff: float | None
    butterworth_order: int
    layer_weight: float
    layer_strength: float
    vacuum: bool


@dataclass(frozen=True, kw_only=True)
class TiltGroupSettings:
    """How groups of ranks that work on different tilts synchronise; see `solvers.tomography.tilt_groups`."""

    synchronise: str
    interval: int
    gain: float
    outer_momentum: float


@dataclass(frozen=True, kw_only=True)
class TomographySettings:
    """The parameters of `solvers.tomography.reconstruct`."""

    epochs: int
    step: float
    momentum: float
    batches: int
    tilt_order: str
    loss: str
    epsilon: float
    validation_fraction: float
    probe: Refinement
    positions: Refinement
    angles: Refinement
    angle_uncertainty: tuple[float, float, float]
    """Standard deviations of the nominal (phi, theta, psi) [degrees]; 0 for one that is not refined."""
    translations: Refinement
    calibration: CalibrationSettings
    regularisation: Regularisation
    weigh_tilts: bool
    tilt_groups: TiltGroupSettings
    chunk_bytes: int | None
    """Memory for the waves held at once; None leaves it to the kernels."""
    fast: bool
    """Whether the adjoint may use half-precision products; see `kernels.Batch`."""
    seed: int
