"""The settings of [P] Algorithm 2.

A setting without a default is the option of the same name in `config.alignment`, where its meaning and its default
stand. The others are no options: their values stand here.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AlignmentSettings:
    """The parameters of `solvers.alignment.align`."""

    binnings: tuple[int, ...]
    """Pixels averaged, coarse to fine."""
    final_binning: int
    """Binning of the volume that is returned."""
    translation_iterations: int
    """Maximum number of steps per binning that move only translations."""
    angle_iterations: int
    """Maximum number of further steps that also move the tilt axis, and from the binning `angles_from` on of steps of
    all pose parameters."""
    angles_from: int
    """Coarsest binning at which Euler angles are refined; 0 for never."""
    final_iterations: int
    """Iterations of the volume that is returned."""
    depth: float | None
    """Of the volume along the beam [Å]; None for as deep as wide. What is deeper than the specimen lets every tilt
    contradict its neighbours: the translations then tell little of where the tilt axis is."""
    folds: int
    angle_uncertainty: tuple[float, float, float]
    """Standard deviations of the nominal (phi, theta, psi) [degrees]; 0 for one that is not refined."""
    tilt_axis: bool
    nonnegative: bool
    search: bool
    inner_iterations: int = 6
    """Iterations of the volumes to which translations are aligned: few, which blurs what is not yet aligned."""
    joint_iterations: int = 30
    """The same for Euler angles: a volume that has not converged misfits high tilts most, and rotates them."""
    softness: float = 0.0
    """Of the ramp filter: 0 is the full ramp, 1 is none."""
