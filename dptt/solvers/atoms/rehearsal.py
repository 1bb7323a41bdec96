"""Simulated counts of a model, to rehearse its fit: by how much errors grow because all is fitted at once.

The blocks of the information take everything but one atom as known. A fit of counts that the model itself would give,
from the model on, moves atoms together with their neighbours, probes and poses. How far, in errors of the blocks, is
pooled over all atoms into one factor for each parameter.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dptt.kernels import multislice_loss
from dptt.solvers.atoms.objective import ALL_AT_ONCE, PATTERNS_AT_ONCE
from dptt.solvers.atoms.problem import AtomModel, AtomProblem, TiltWaves

FEWEST = 30
"""Atoms from which on parameters have a factor each, then known to 13 %; below, they share one."""


@dataclass
class SimulatedPatterns:
    """Counts of one tilt at the scan positions of this rank."""

    counts: Float[Tensor, "own y x"]
    positions: Int[Tensor, " own"]
    """Their numbers, ascending."""
    mean_electrons: float
    mask: Bool[Tensor, "y x"] | None
    name: str
    scale: float = 1.0
    seconds_reading: float = 0.0

    def read(self, indices: Tensor) -> Float[Tensor, "pos y x"]:
        """Return patterns in corner order."""
        return self.counts[torch.searchsorted(self.positions, indices)]

    def prefetch(self, indices: Tensor) -> None:
        """Everything is in memory."""

    def usable(self, indices: Tensor) -> Bool[Tensor, " pos"]:
        """Return that all are."""
        return torch.ones(len(indices), dtype=torch.bool)


def simulated(problem: AtomProblem, model: AtomModel) -> AtomProblem:
    """Return the problem with counts drawn from `model`, the same on any number of ranks."""
    tilts = []
    for tilt, patterns in enumerate(problem.tilts):
        own = problem.own(tilt)
        waves = TiltWaves(problem, model, tilt, problem.tilted(model, tilt).slices())
        counts = [torch.zeros((0, *problem.geometry.window_shape))]
        for piece in own.split(PATTERNS_AT_ONCE):
            if len(piece):
                scattered = _intensities(problem, waves, piece) + waves.diffuse(piece)
                means = waves.misfit.counted(scattered) + waves.misfit.background
                counts += [
                    _drawn(problem, tilt, number, mean)
                    for number, mean in zip(piece.tolist(), means.cpu(), strict=True)
                ]
        kept = patterns.mean_electrons, patterns.mask, patterns.name
        tilts.append(SimulatedPatterns(torch.cat(counts), own, *kept))
    return replace(problem, tilts=tilts)


def growth(
    moved: Float[Tensor, "atom parameter"], errors: Float[Tensor, "atom parameter"]
) -> Float[Tensor, " parameter"]:
    """Return by how much larger movements are than the `errors` of blocks, 1 or more."""
    squares = (moved / errors)[errors.isfinite().all(dim=1)].square().mean(dim=0)
    if len(moved) < FEWEST:
        squares = squares.mean().expand(squares.shape)
    return squares.nan_to_num(1.0).sqrt().clamp_min(1.0)


def _intensities(problem: AtomProblem, waves: TiltWaves, indices: Tensor) -> Float[Tensor, "pos y x"]:
    found: list[Tensor] = []

    def keep(intensity: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
        found.append(intensity)
        return intensity.new_zeros(()), intensity

    unread = torch.zeros((len(indices), *problem.geometry.window_shape))
    multislice_loss(replace(waves.batch(indices, unread), loss=keep), ALL_AT_ONCE)
    return torch.cat(found)


def _drawn(problem: AtomProblem, tilt: int, number: int, mean: Float[Tensor, "y x"]) -> Float[Tensor, "1 y x"]:
    seed = ((problem.seed + 1) * 1_000_003 + tilt) * 1_000_003 + number
    return torch.poisson(mean.double(), generator=torch.Generator().manual_seed(seed)).float()[None]
