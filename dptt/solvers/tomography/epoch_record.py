"""What an epoch reports: one line of metrics.jsonl."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from dptt.model.shot_noise import Fit
from dptt.model.state import TomographyState
from dptt.solvers.stage_prior import Verdict


@dataclass
class EpochRecord:
    """What an epoch did; losses are per electron, so 0 is perfect and noise-free data approach it."""

    epoch: int
    loss: float
    held_out_loss: float | None
    tilt_losses: list[float]
    seconds: dict[str, float]
    """Of this rank: read, communicate, compute, total."""
    bytes_sent: int
    """By this rank."""
    updates: int
    tilt_weights: list[float] = field(default_factory=list)
    fits: list[Fit] = field(default_factory=list)
    """Of a sample of the fitted patterns of every tilt, if tilts are weighed."""
    pose_errors: list[list[float]] = field(default_factory=list)
    """Per tilt, standard deviations of (phi, theta, psi) [degrees] and tau (y, x) [Å]; zero if not refined."""
    verdicts: list[Verdict] = field(default_factory=list)
    """On the refinements that were judged after this epoch."""
    fast_error: float = 0.0
    """Largest relative error of a rank's slice gradient by half precision, in the first minibatch."""
    changes: dict[str, float] = field(default_factory=dict)
    """Root mean square change of the refined parameters in this epoch."""
    ranks: dict[str, list[float]] = field(default_factory=dict)
    """Seconds of every rank, see `epoch_seconds.seconds_of_ranks`."""
    positions_at_border: int = 0
    """Refined scan positions that are kept at the border of the volume."""
    translations_at_limit: int = 0
    """Refined translations that are kept at half the extent of the volume."""
    vacuum_loss: float | None = None
    """That of an empty volume with the same probes, in the first and the last epoch."""
    step_factor: float = 1.0
    """By which the guard multiplies all steps."""
    undone: int = 0
    """How often this epoch was undone because it raised the loss."""


def refined_parameters(state: TomographyState) -> dict[str, Tensor]:
    """Return copies of the parameters whose change in an epoch is reported."""
    return {
        "angles_deg": state.euler_angles.clone(),
        "translations_A": state.translations.clone(),
        "positions_A": torch.cat(state.positions),
    }


def changes_since(before: dict[str, Tensor], state: TomographyState) -> dict[str, float]:
    """Return the root mean square change of every parameter since it was `before`."""
    return {
        name: (now - before[name]).square().mean().sqrt().item() for name, now in refined_parameters(state).items()
    }
