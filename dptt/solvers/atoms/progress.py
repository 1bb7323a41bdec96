"""Where a fit of atoms is, so that it can be continued."""

from dataclasses import dataclass
from enum import IntEnum

from dptt.solvers.atoms.problem import AtomModel


class Stage(IntEnum):
    """Parts of a fit, in order; see `fit`."""

    COHERENCE = 0
    COARSE = 1
    ELEMENTS = 2
    FINE = 3
    SCANS = 4
    THERMAL = 5
    FINE_ELEMENTS = 6
    MENDING = 7
    FINAL = 8


@dataclass(frozen=True)
class Progress:
    """The model after a step of a fit, and what was done before."""

    model: AtomModel
    """On the coarse grid up to `Stage.ELEMENTS`, on the fine one from then on."""
    stage: Stage = Stage.COHERENCE
    steps: int = 0
    """That were taken in this stage."""
    added: int = 0
    removed: int = 0
    passes: float = 0.0
    """Over the patterns."""
    vibrating: bool = False
    """Whether atoms absorb and scatter diffusely; `model.vibrations` are computed anew."""
