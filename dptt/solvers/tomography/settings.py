"""Settings of [P] Algorithm 3; every default works."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Refinement:
    """Whether and when a nuisance parameter is refined inside the loop."""

    start: int | None = None
    """First epoch (from 0) that updates it; None keeps it fixed."""
    step: float = 1.0
    """Fraction of the step that the curvature of the loss allows."""

    def active(self, epoch: int) -> bool:
        """Return whether `epoch` updates the parameter."""
        return self.start is not None and epoch >= self.start


@dataclass(frozen=True)
class Regularisation:
    """Constraints on the volume; see `solvers.tomography.constraints`.

    Soft thresholds are fractions of the typical potential of the current volume, for one pass over a tilt: each
    minibatch applies its share.
    """

    nonnegativity: float = 1.0
    """Fraction of negative Re V removed after each minibatch."""
    nonnegative_absorption: bool = True
    """Whether Im V < 0, a specimen that emits electrons, is set to zero after each minibatch."""
    l1: float = 0.003
    """Soft threshold of Re V. It also fixes the constant that no intensity determines: vacuum is 0 V."""
    l1_start: int = 0
    """First epoch with `l1`."""
    l1_half_life: float | None = None
    """Epochs in which `l1` falls to one half; None keeps it. A strong `l1` at first keeps each tilt from fitting
    itself alone. A weak one in the end leaves the tails of the atoms and does not bias poses."""
    shrinkage: float = 0.005
    """Soft threshold of Im V ([P] eq. 17)."""
    butterworth_cutoff: float | None = None
    """Cut-off of the filter after each epoch [1/Å]; None for no filter."""
    butterworth_order: int = 2
    layer_weight: float = 0.0
    """Weight of the layer filter after each tilt; 0 for none."""
    layer_strength: float = 1.0


@dataclass(frozen=True)
class TiltGroupSettings:
    """How groups of ranks that work on different tilts synchronise; see `solvers.tomography.tilt_groups`."""

    synchronise: str = "updates"
    """``updates`` or ``averages``."""
    interval: int = 8
    """Updates between two averages."""
    gain: float = 1.0
    """Factor of the summed updates or of the averaged changes."""
    outer_momentum: float = 0.0
    """Momentum of the averaged changes."""


@dataclass(frozen=True)
class TomographySettings:
    """The parameters of `solvers.tomography.reconstruct`."""

    epochs: int = 8
    step: float = 1.0
    """Fraction of the step that the curvature of the loss allows."""
    momentum: float = 0.5
    batches: int = 4
    """Number of minibatches of adjacent scan positions in a tilt."""
    tilt_order: str = "random"
    """``random`` or ``sequential`` ([P])."""
    loss: str = "amplitude"
    """``amplitude`` or ``poisson``."""
    epsilon: float = 1e-6
    """Floor of the intensities, as a fraction of the mean electrons per pixel of a tilt."""
    validation_fraction: float = 0.02
    """Fraction of the patterns that no update uses."""
    probe: Refinement = Refinement()
    positions: Refinement = Refinement()
    angles: Refinement = Refinement()
    translations: Refinement = Refinement()
    regularisation: Regularisation = Regularisation()
    weigh_tilts: bool = True
    """Whether tilts that the volume cannot explain take smaller steps; see `solvers.tomography.health`."""
    tilt_groups: TiltGroupSettings = TiltGroupSettings()
    chunk_bytes: int | None = None
    """Memory of the waves held at once [bytes]; None for the kernels' own default."""
    fast: bool = False
    """Whether to use products of half precision where a GPU's kernel has them; see `kernels.Batch`."""
    seed: int = 0
