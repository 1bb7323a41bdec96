"""What later steps use: the file's calibration, unless the data contradict it significantly.

Where the scan turns out to lie otherwise than the file says, its positions p are multiplied by N = M M_file^T. The
specimen was described in the frame of the positions, tilt axis along y, and turns with them: with N3 = (N on x, y;
1 on z),

    r' = N3 (R r + tau).        N a rotation by mu:        (phi, theta, psi) -> (phi, theta, psi + mu)
                                N = R(mu) and a mirror y:  (phi, theta, psi) -> (-phi, theta, mu - psi), r mirrored
                                along y

(mu from +x towards +y). After a change of parity the volume is the mirror image, along y, of the one in the file's
frame: its hand then is that of the detector's frame.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dptt.solvers.brightfield.aberrations import to_cartesian, to_polar
from dptt.solvers.brightfield.orientation import Matrix, Orientation, wrapped

UNCHANGED: Matrix = ((1.0, 0.0), (0.0, 1.0))
SIGNIFICANT = 3.0
"""Standard deviations."""
SMALLEST_TURN = 2.0
"""[degrees]"""
SMALLEST_CHANGE = 0.05
"""Of defocus and astigmatism, as a fraction of them."""
DEPTH_FRACTION = 0.25
"""Of the depth of field that a change must exceed as well."""


@dataclass(frozen=True)
class Calibration:
    """Optics and geometry of one tilt for the steps that follow.

    Parameters
    ----------
    aberrations
        By name [Å, degrees].
    matrix
        N, to be multiplied with the file's positions and translation (y, x).
    sentence
        What was kept or changed, and why.
    """

    aberrations: dict[str, float]
    matrix: Matrix
    sentence: str

    @property
    def mirrored(self) -> bool:
        """Whether the parity changes: the volume then is mirrored along y."""
        (a, b), (c, d) = self.matrix
        return a * d - b * c < 0

    def positions(self, positions: Float[Tensor, "pos 2"]) -> Float[Tensor, "pos 2"]:
        """Return the file's positions (y, x) [Å] in the frame of the detector."""
        return positions @ torch.tensor(self.matrix, dtype=positions.dtype).T

    def pose(
        self, euler_angles: tuple[float, float, float], translation: tuple[float, float]
    ) -> tuple[tuple[float, float, float], tuple[float, float]]:
        """Return the pose (phi, theta, psi) [degrees], (y, x) [Å] in the frame of the detector."""
        (yy, yx), (xy, xx) = self.matrix
        mu = math.degrees(math.atan2(yx, xx))  # where N sends x
        phi, theta, psi = euler_angles
        turned = (-phi, theta, wrapped(mu - psi)) if self.mirrored else (phi, theta, wrapped(psi + mu))
        y, x = translation
        return turned, (yy * y + yx * x, xy * y + xx * x)


def calibrated(
    file_orientation: Orientation,
    file_aberrations: Mapping[str, float],
    *,
    orientation: Orientation,
    rotation_uncertainty: float,
    aberrations: Mapping[str, float],
    defocus_uncertainty: float,
    sign_significance: float,
    depth_of_field: float = 0.0,
) -> Calibration:
    """Return what to use of the file's calibration and of an estimate of one tilt.

    Parameters
    ----------
    file_orientation, file_aberrations
        What the file says; no defocus counts as not known.
    orientation, rotation_uncertainty
        Of the series, from the data [degrees].
    aberrations, defocus_uncertainty
        Of this tilt, from the data [Å, degrees].
    sign_significance
        Of the positive potential, in standard deviations: below `SIGNIFICANT` the file's sign of defocus is kept by
        taking the twin of the estimate.
    depth_of_field
        lambda/alpha² [Å]: a defocus is no better known than a part of it, as a specimen has depth itself.
    """
    said, found = to_cartesian(file_aberrations, 3), to_cartesian(aberrations, 3)
    sentences = []
    if said[0] * found[0] < 0 and sign_significance < SIGNIFICANT:
        orientation, found = orientation.turned(180.0), -found
        sentences.append("the twin with the file's sign of defocus is taken, as the data do not exclude it")
    turn = wrapped(orientation.rotation - file_orientation.rotation)
    limit = max(SIGNIFICANT * rotation_uncertainty, SMALLEST_TURN)
    changed = orientation.transposed != file_orientation.transposed
    if changed or abs(turn) > limit:
        matrix = orientation.matrix() @ file_orientation.matrix().T
        parity = " and transposed" if changed else ""
        sentences.append(
            f"the scan is turned to {orientation.rotation:.1f}°{parity} from the file's "
            f"{file_orientation.rotation:.1f}°, which the data contradict by more than {limit:.1f}°"
        )
    else:
        matrix = torch.eye(2, dtype=torch.float64)
        sentences.append(f"the file's scan rotation is kept ({turn:+.1f}° from the data, within {limit:.1f}°)")
    smallest = max(SIGNIFICANT * defocus_uncertainty, DEPTH_FRACTION * depth_of_field)
    use, sentence = _aberrations(said, found, file_aberrations, aberrations, smallest)
    (a, b), (c, d) = matrix.tolist()
    return Calibration(use, ((a, b), (c, d)), "; ".join([*sentences, sentence]))


def _aberrations(
    said: Tensor,
    found: Tensor,
    file_aberrations: Mapping[str, float],
    aberrations: Mapping[str, float],
    smallest: float,
) -> tuple[dict[str, float], str]:
    """Return the aberrations to use, and the sentence that says why."""
    difference = torch.linalg.vector_norm((found - said)[:3]).item()  # defocus and twofold astigmatism
    limit = max(smallest, SMALLEST_CHANGE * torch.linalg.vector_norm(found[:3]).item())
    if difference <= limit:
        kept = f"the file's defocus of {-said[0].item() + 0.0:.4g} Å is kept (the data differ by {difference:.3g} Å)"
        return dict(file_aberrations), kept
    use = {name: value for name, value in to_polar(found).items() if name in aberrations}
    return use, f"defocus becomes {-use['C10']:.4g} Å from the file's {-said[0].item() + 0.0:.4g} Å"
