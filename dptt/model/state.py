"""All tensors that a reconstruction changes."""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor

from dptt.model.calibration import NUM_PARAMETERS


@dataclass(frozen=True)
class Nominal:
    """Poses and calibration before the first epoch; what a refinement does not improve goes back to them."""

    euler_angles: Float[Tensor, "tilt 3"]
    """[degrees]"""
    translations: Float[Tensor, "tilt 2"]
    """[Å]"""
    calibration: Float[Tensor, "tilt parameter"]
    """See `model.calibration`; positions and probes at the start are those with it."""


@dataclass
class Descent:
    """How the loss [per electron] has descended so far, the same on every rank: see `solvers.tomography.guard`."""

    step_factor: float = 1.0
    """By which all steps are multiplied."""
    loss: float = math.inf
    """Of the last complete epoch."""
    lowest_loss: float = math.inf
    """Of all complete epochs since the last in which the loss rose whatever the step."""
    vacuum_loss: float = math.inf
    """Of V = 0 with the same probes, where it was last computed."""


@dataclass
class TomographyState:
    """The unknowns of [P] Algorithm 3, equal on every rank; updated in place.

    Volume, momentum and probes may be on a GPU; poses, positions and weights of the tilts stay on the host. Scan
    positions are up to date on the rank that owns them, and are exchanged at the end of every epoch.
    """

    volume: Inexact[Tensor, "z y x"]
    """Electrostatic potential [V]; complex if absorption is reconstructed."""
    velocity: Inexact[Tensor, "z y x"]
    """Momentum of the volume, in steps of the volume [V]."""
    probes: list[Complex[Tensor, "_ _ _"]]
    """Per tilt, in front of the first slice."""
    positions: list[Float[Tensor, "_ 2"]]
    """Per tilt [Å], double precision."""
    euler_angles: Float[Tensor, "tilt 3"]
    """(phi, theta, psi) [degrees], double precision."""
    translations: Float[Tensor, "tilt 2"]
    """tau (y, x) [Å], double precision."""
    tilt_weights: Float[Tensor, " tilt"]
    """Fraction of the full step that a tilt takes: below 1 for tilts that the volume cannot explain."""
    nominal: "Nominal"
    """Where poses and calibration started."""
    calibration: Float[Tensor, "tilt parameter"]
    """What was found of the experiment of every tilt, double precision: see `model.calibration`."""
    calibration_errors: Float[Tensor, "tilt parameter"]
    """Standard deviations; zero for what is not looked for."""
    epoch: int = 0
    """Complete epochs."""
    descent: Descent = field(default_factory=Descent)

    def move_to(self, device: torch.device) -> None:
        """Move volume, momentum and probes to the device that computes."""
        self.volume, self.velocity = self.volume.to(device), self.velocity.to(device)
        self.probes = [probe.to(device) for probe in self.probes]

    @classmethod
    def initial(
        cls,
        volume_shape: tuple[int, int, int],
        volume_dtype: torch.dtype,
        probes: list[Tensor],
        positions: list[Tensor],
        euler_angles: Tensor,
        translations: Tensor,
        calibration: Float[Tensor, "tilt parameter"] | None = None,
    ) -> "TomographyState":
        """Return the state before the first epoch: V = 0, no prior knowledge of the specimen ([P] Algorithm 3)."""
        nothing = torch.zeros((len(probes), NUM_PARAMETERS), dtype=torch.float64)
        known = nothing.clone() if calibration is None else calibration.clone()
        return cls(
            volume=torch.zeros(volume_shape, dtype=volume_dtype),
            velocity=torch.zeros(volume_shape, dtype=volume_dtype),
            probes=list(probes),
            positions=[p.clone() for p in positions],
            euler_angles=euler_angles.clone(),
            translations=translations.clone(),
            tilt_weights=torch.ones(len(probes), dtype=torch.float64),
            nominal=Nominal(euler_angles.clone(), translations.clone(), known.clone()),
            calibration=known,
            calibration_errors=nothing,
        )
