"""Where a fit of atoms is, so that it can be continued."""

from dataclasses import dataclass
from enum import IntEnum

from dptt.solvers.atoms.problem import AtomModel


class Stage(IntEnum):
    """Parts of a fit, in order; see `fit`."""

    COARSE = 0
    ELEMENTS = 1
    FINE = 2
    SOURCE = 3
    THERMAL = 4
    FINE_ELEMENTS = 5
    MENDING = 6
    FINAL = 7


@dataclass(frozen=True)
class Progress:
    """The model after a step of a fit, and what was done before."""

    model: AtomModel
    """On the coarse grid up to `Stage.ELEMENTS`, on the fine one from then on."""
    stage: Stage = Stage.COARSE
    steps: int = 0
    """That were taken in this stage."""
    added: int = 0
    removed: int = 0
    passes: float = 0.0
    """Over the patterns."""
    vibrating: bool = False
    """Whether atoms absorb and scatter diffusely; `model.vibrations` are computed anew."""
