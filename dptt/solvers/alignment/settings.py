"""Settings of [P] Algorithm 2."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AlignmentSettings:
    """Settings of the alignment; the defaults suit most series."""

    binnings: tuple[int, ...] = (4, 2)
    """Pixels averaged along each side, coarse to fine."""
    final_binning: int = 1
    """Binning of the volume that is returned."""
    translation_iterations: int = 10
    """Maximum number of steps at each binning that move translations and the tilt axis only."""
    angle_iterations: int = 10
    """Maximum number of further steps, of all pose parameters, from the binning `angles_from` on."""
    angles_from: int = 2
    """Coarsest binning at which Euler angles are refined; 0 for none."""
    inner_iterations: int = 6
    """Iterations of the volumes to which translations are aligned. Few, so that unaligned detail stays blurred."""
    joint_iterations: int = 30
    """Iterations of the volumes to which Euler angles are aligned. An unconverged volume biases high tilts."""
    final_iterations: int = 30
    """Iterations of the volume that is returned."""
    folds: int = 4
    """Groups of tilts; each is aligned to the volume of the others."""
    softness: float = 0.0
    """Of the ramp filter: 0 for the full ramp, 1 for none."""
    tilt_axis: bool = True
    """Whether a common psi is refined with the translations."""
    nonnegative: bool = True
    """Whether volumes are kept free of negative values."""
    search: bool = True
    """Whether first translations are searched for."""
