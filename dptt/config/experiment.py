"""The section `simulation.experiment`: what a microscope does to a tilt series that its files do not say."""

from typing import Annotated

from pydantic import Field

from dptt.config.base import CountOrZero, Degrees, NotNegative, Number, Pair, Section, Spread, Turn


class ExperimentConfig(Section):
    """Errors of the experiment, each with a size; none is told to the reconstruction, all are in the truth.

    A spread is a standard deviation from tilt to tilt.
    """

    scan_scale: Pair = (0.0, 0.0)
    """By how much the true scan is larger than the nominal one along (y, x) [%]."""
    scan_scale_spread: NotNegative = 0.0
    """Spread of it [%]."""
    scan_rotation: Degrees = 0.0
    """By how much the true scan is turned, counted as `scan.rotation` [degrees]."""
    scan_rotation_spread: Turn = 0.0
    """Spread of it [degrees]."""
    scan_shear: Number = 0.0
    """Part of y that is added to x [%]."""
    drift: NotNegative = 0.0
    """Drift of the specimen from the first to the last position of each tilt, in a random direction [Å]; unsteady, so
    that in some tilts it turns back before the end."""
    descan: Annotated[NotNegative, Field(le=1e5)] = 0.0
    """Shift of the patterns that is linear in the scan position, at the edge of the scan [detector pixels]."""
    descan_spread: Spread = 0.0
    """Spread of it, as a fraction."""
    zero_angle: Pair = (0.0, 0.0)
    """Where the beam is on the detector beside the zero angle of the file (y, x) [detector pixels]."""
    focus_spread: NotNegative = 0.0
    """Spread of C10 [Å]."""
    astigmatism: NotNegative = 0.0
    """C12 of every tilt [Å], along a random direction; replaces that of the microscope."""
    dose_spread: Spread = 0.0
    """Spread of the electrons of a tilt, as a fraction."""
    current_spread: Spread = 0.0
    """Standard deviation of the electrons from pattern to pattern, as a fraction."""
    blur: NotNegative = 0.0
    """Standard deviation of the detector's point spread [detector pixels]."""
    background: Spread = 0.0
    """Electrons spread evenly over the detector, as a fraction of those of the pattern."""
    dead_pixels: CountOrZero = 0
    """Number of pixels that count nothing."""
    hot_pixels: CountOrZero = 0
    """Number of pixels that always count much."""
    aperture: Annotated[Number, Field(gt=-100, le=1000)] = 0.0
    """By how much the semi-angle in the file is larger than the true one [%]."""
