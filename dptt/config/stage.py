"""What the stage says of the angles, for `alignment` and `reconstruction` alike."""

from dptt.config.base import NotNegative, Section


class AngleUncertainty(Section):
    """How far the true angles of a tilt may be from the nominal ones: standard deviations [degrees].

    Refined angles are weighed against it. 0 keeps an angle at its nominal value.
    """

    phi: NotNegative = 0.05
    """Rotation about the axis across the tilt axis [degrees]: the stage hardly moves it from tilt to tilt."""
    theta: NotNegative = 0.3
    """The tilt angle that the stage reports [degrees]."""
    psi: NotNegative = 0.05
    """Rotation in the image [degrees], from tilt to tilt; the direction of the tilt axis is common to all tilts."""
