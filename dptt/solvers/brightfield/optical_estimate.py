"""The estimate of one tilt's optics: its numbers, its image, and whether the data determine them."""

from dataclasses import dataclass, field, replace

from jaxtyping import Float
from torch import Tensor

from dptt.physics.aberrations import to_cartesian, to_polar
from dptt.solvers.brightfield.centre_of_mass import Curl
from dptt.solvers.brightfield.orientation import Orientation, wrapped
from dptt.solvers.brightfield.parallax import Shifts
from dptt.solvers.brightfield.search import Candidate
from dptt.solvers.brightfield.signs import SIGNIFICANT, BothSigns
from dptt.solvers.brightfield.transfer import Method

AGREEMENT = 10.0
"""[degrees] within which explained energy and centre of mass must agree: strong objects shift either a little."""
CLEAR_ENERGY = 1.1
"""Ratio of the explained energies of the two parities that counts as clear."""
CLEAR_CURL = 0.1
"""Difference in the share of the curl that counts as clear."""


@dataclass(frozen=True)
class OpticalEstimate:
    """Optics and orientation of one tilt, from its bright field.

    Parameters
    ----------
    orientation
        Scan rotation [degrees] and parity relative to the stored detector frame.
    aberrations
        By name [Å, degrees], axes in the stored detector frame.
    rotation_uncertainty, defocus_uncertainty
        Standard deviations [degrees], [Å].
    energy
        Explained energy of the weak-phase model, 0 to 1.
    other_parity
        The best setting of the other parity.
    by_sign
        The best settings with either sign of defocus, at this orientation.
    sign_significance
        Skewness of the phase image divided by its standard error; positive if potentials are, as they must be.
    method, reason
        The method used, and why.
    image
        Phase [rad] or contrast along the raster's axes.
    image_sampling
        Pixel of the image (y, x) [Å].
    curls
        Of the centre of mass, for both parities.
    defocus_curve
        Defocus [Å] and explained energy, everything else as estimated; (trial, 2).
    shifts
        Of the virtual images, at the estimate.
    """

    orientation: Orientation
    aberrations: dict[str, float]
    rotation_uncertainty: float
    defocus_uncertainty: float
    energy: float
    other_parity: Candidate
    by_sign: BothSigns
    sign_significance: float
    method: Method
    reason: str
    image: Float[Tensor, "y x"] = field(repr=False)
    image_sampling: tuple[float, float]
    curls: tuple[Curl, Curl]
    defocus_curve: Float[Tensor, "trial 2"] = field(repr=False)
    shifts: Shifts = field(repr=False)

    @property
    def defocus(self) -> float:
        """Underfocus [Å], -C10."""
        return -self.aberrations["C10"]

    @property
    def orientation_known(self) -> bool:
        """Whether the rotation is consistent, the parity is clear, and the centre of mass contradicts neither."""
        parity = self.orientation.transposed
        curl, curl_of_other_parity = self.curls[int(parity)], self.curls[int(not parity)]
        clear = self.energy > CLEAR_ENERGY * self.other_parity.energy
        consistent = self.rotation_uncertainty < AGREEMENT / SIGNIFICANT
        difference = abs(wrapped(self.orientation.rotation - curl.rotation, 180.0))
        other_parity_fits_better = curl_of_other_parity.least < curl.least - CLEAR_CURL
        other_rotation_fits_better = curl.least < 0.5 - CLEAR_CURL and difference > max(
            AGREEMENT, SIGNIFICANT * curl.uncertainty
        )
        return clear and consistent and not (other_parity_fits_better or other_rotation_fits_better)

    def twin(self) -> "OpticalEstimate":
        """Return the setting that explains the data equally well with V(r) -> -V(-r)."""
        order = max(int(name[1]) for name in self.aberrations if name[0] == "C")
        return replace(
            self,
            orientation=self.orientation.rotated(180.0),
            aberrations=to_polar(-to_cartesian(self.aberrations, order)),
            by_sign=self.by_sign.twin(),
            sign_significance=-self.sign_significance,
            image=self.image if self.method == "parallax" else -self.image,
        )

    @property
    def sign_known(self) -> bool:
        """Whether the data distinguish the setting from its twin."""
        return abs(self.sign_significance) >= SIGNIFICANT
