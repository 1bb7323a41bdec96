"""The section `brightfield`: optics and orientation from the bright disk."""

from typing import Annotated, Literal

from pydantic import Field

from dptt.config.base import Integer, Section


class BrightFieldConfig(Section):
    """How `dptt brightfield` estimates aberrations and scan orientation. The defaults suit most data sets."""

    method: Literal["auto", "single-sideband", "weak-phase", "parallax"] = "auto"
    """`auto` decides by the sampling: parallax for a defocused probe and a coarse scan, otherwise a direct method."""
    aberration_order: Annotated[Integer, Field(ge=1, le=3)] = 1
    """Highest order n of the aberrations Cnm to fit: 1 for defocus and twofold astigmatism, 2 adds C21 and C23, 3
    adds C30. Raise it for an uncorrected microscope."""
    tilt_axis: Literal["scan", "detector"] = "scan"
    """What the nominal tilt axis stays aligned with if the scan rotation is corrected: the scan (the scan was rotated
    until the tilt axis ran along it) or the detector."""
    orientation: Literal["estimate", "keep"] = "estimate"
    """`keep` trusts the scan rotation and transposition in the file and estimates only the aberrations."""
