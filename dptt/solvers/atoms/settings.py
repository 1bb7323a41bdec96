"""The settings of a fit of atoms; `config.atoms` has their meaning and defaults."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AtomFitSettings:
    """What a user can choose."""

    elements: tuple[int, ...]
    """Atomic numbers that an atom may have, ascending."""
    iterations: int
    """Most steps of one fit."""
    rounds: int
    """Of adding and removing atoms."""
    probes: bool
    """Whether the probe of every tilt is fitted too."""
    poses: bool
    """Whether angles and translations of the tilts are fitted too."""
    scans: bool
    """Whether scale, rotation and shear of every scan are fitted too."""
    least_scan: float
    """Root mean square of these from which they are kept."""
    false_rate: float
    """Expected number of atoms that noise alone would add in a round."""
    thermal: str
    """`diffuse`, `smeared`, or `auto` for what explains the patterns better."""
    draws: int
    """Of simulated noise, for the error bars; half as many for everything before."""
    min_separation: float
    """Smallest distance between two atoms [Å]."""
