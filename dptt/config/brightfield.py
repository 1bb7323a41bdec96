"""The section `brightfield`: optics and orientation from the bright disk."""

from typing import Annotated, Literal

from pydantic import Field

from dptt.config.base import Section


class BrightFieldConfig(Section):
    """How `dptt brightfield` estimates; the defaults suit every data set."""

    method: Literal["auto", "single-sideband", "weak-phase", "parallax"] = "auto"
    """`auto` chooses from the sampling: parallax for a defocused probe and a coarse scan, else the direct methods."""
    aberration_order: Annotated[int, Field(ge=1, le=3)] = 1
    """Highest n of the aberrations Cnm: 1 defocus and twofold astigmatism, 2 also C21 and C23, 3 also C30."""
    tilt_axis: Literal["scan", "detector"] = "scan"
    """What the nominal tilt axis is fixed to where the scan turns out to lie otherwise: to the scan, as where it
    was turned until the axis ran along it, or to the detector."""
    orientation: Literal["estimate", "keep"] = "estimate"
    """`keep` trusts the file's scan rotation and transposition and estimates the aberrations only."""
