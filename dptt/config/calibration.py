"""The sections `ptychography.calibration` and `reconstruction.calibration`."""

from typing import Annotated, Literal

from pydantic import Field

from dptt.config.base import Count, Number, Repeats, Section

AUTOMATIC_START, AUTOMATIC_EPOCHS = 2, 6
"""First epoch that ends with a calibration, and how many do, where nothing is said of it."""
FEWEST_AUTOMATIC_EPOCHS, FEWEST_AUTOMATIC_PATTERNS = 6, 200
"""Of a run and of every tilt, from which a calibration begins unasked: there are steps enough, and at most a fifth of
the patterns of a tilt are set aside."""


class CalibrationConfig(Section):
    """Errors of the experiment, found in every tilt from patterns that are not fitted meanwhile."""

    from_epoch: Count | Literal["auto"] | None = "auto"
    """First epoch (counted from 1) that ends with a calibration; null for none. `auto` is the second, if the run has
    six epochs or more and every tilt 200 patterns or more, and none otherwise."""
    epochs: Repeats | None = None
    """Epochs that end with a calibration. Afterwards its patterns are fitted like the others. If left out, 6, or
    fewer so that the last epoch fits all."""
    scan: bool = True
    """Whether to look for rotation and shear of the scan, for a y that is longer than x, and with four tilts or more
    for scales that differ from tilt to tilt, as by drift."""
    scan_strain: bool = True
    """Whether `scan` includes shear and a y longer than x. One tilt hardly tells them from astigmatism, while it does
    tell the rotation: it is off in `ptychography`."""
    scan_scale: bool = False
    """Whether `scan` includes the mean of all tilts of scale, shear, and a y longer than x. It comes out 1 to 3 %
    wrong: use it for errors of more."""
    descan: bool = True
    """Whether to look for a shift of the patterns that is linear in the scan position. One of more than 0.3 pixels,
    or of 0.1 pixels if `from_epoch` is a number, is measured from the centres of the patterns and used from the
    start, also without calibration; `false` prevents that."""
    focus: bool = True
    """Whether to look for the focus and the twofold astigmatism of every tilt, beside a probe that is refined
    freely."""
    background: bool = True
    """Whether to look for electrons that fall on all pixels of the detector alike."""
    blur: bool = False
    """Whether to look for the point spread of the detector. It comes out too small, by a tenth to all of it: a probe
    takes its amplitudes from patterns that are blurred, and the edge of its disk then speaks against a blur."""
    fraction: Annotated[Number, Field(gt=0, le=0.5)] = 0.1
    """Fraction of the patterns that calibrate: of a tilt 40 at least and 128 at most."""

    def first_epoch(self, *, of: int, patterns: int) -> int | None:
        """Return the first epoch that ends with a calibration, in a run `of` epochs; None if none does.

        `patterns` has the tilt that has fewest in the file, whether or not this run takes half of them.
        """
        if self.from_epoch != "auto":
            return self.from_epoch
        enough = of >= FEWEST_AUTOMATIC_EPOCHS and patterns >= FEWEST_AUTOMATIC_PATTERNS
        return AUTOMATIC_START if enough else None

    def number_of_epochs(self, *, of: int, first: int) -> int:
        """Return how many epochs end with a calibration, from the epoch `first` on in a run `of` epochs."""
        return max(1, min(AUTOMATIC_EPOCHS, of - first)) if self.epochs is None else self.epochs


class CalibrationOfOneTiltConfig(CalibrationConfig):
    """Errors of the experiment, found in one tilt alone from patterns that are not fitted meanwhile."""

    scan_strain: bool = False
    """Whether `scan` includes shear and a y longer than x. One tilt hardly tells them from astigmatism, while it does
    tell the rotation; a wrong shear turns the tilt axis that `alignment` finds."""
