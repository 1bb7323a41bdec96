"""What a user may choose in [P] Algorithm 2; every default works."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AlignmentSettings:
    """What may be chosen; every default works."""

    binnings: tuple[int, ...] = (4, 2)
    """Pixels averaged, coarse to fine."""
    final_binning: int = 1
    """Of the volume that is returned."""
    translation_iterations: int = 10
    """Largest number of steps of a binning that move translations and the tilt axis only."""
    angle_iterations: int = 10
    """Largest number of further steps, of all pose parameters, from the binning `angles_from` on."""
    angles_from: int = 2
    """Coarsest binning at which Euler angles are refined; 0 for never."""
    inner_iterations: int = 6
    """Of the volumes to which translations are aligned: few, which blurs what is not yet aligned."""
    joint_iterations: int = 30
    """... Euler angles: a volume that is not converged misfits high tilts most, and turns them."""
    final_iterations: int = 30
    folds: int = 4
    softness: float = 0.0
    """Of the ramp filter: 0 is a full ramp, 1 none."""
    tilt_axis: bool = True
    """Whether a common psi is refined with the translations."""
    nonnegative: bool = True
    search: bool = True
    """Whether translations are searched for first."""
