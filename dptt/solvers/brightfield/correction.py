"""Correction of the file's calibration, where the bright field contradicts it significantly.

If the orientation of the scan differs from the file's, its positions p are multiplied by N = M M_file^T. The specimen
was described in the frame of the positions, tilt axis along y, and rotates with them: with N3 = (N on x, y; 1 on z),

    r' = N3 (R r + tau).        N a rotation by mu:        (phi, theta, psi) -> (phi, theta, psi + mu)
                                N = R(mu) and a mirror y:  (phi, theta, psi) -> (-phi, theta, mu - psi), r mirrored
                                along y

(mu from +x towards +y). After a change of parity the volume is the mirror image, along y, of the volume in the file's
frame: its handedness is then that of the detector's frame.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from dptt.physics.aberrations import to_cartesian, to_polar
from dptt.solvers.brightfield.orientation import Matrix, Orientation, wrapped
from dptt.solvers.brightfield.signs import SIGNIFICANT

UNCHANGED: Matrix = ((1.0, 0.0), (0.0, 1.0))
SMALLEST_ROTATION = 2.0
"""[degrees] below which the file's scan rotation is kept."""
SMALLEST_CHANGE = 0.05
"""Change of defocus and astigmatism below which the file's are kept, as a fraction of them."""
DEPTH_FRACTION = 0.25
"""Fraction of the depth of field that a change must exceed as well: a specimen has a depth itself."""


@dataclass(frozen=True)
class MeasuredOptics:
    """Orientation of the series and optics of one tilt, from the data.

    Parameters
    ----------
    orientation, rotation_uncertainty
        Of the series [degrees].
    aberrations, defocus_uncertainty
        Of the tilt, by name [Å, degrees]; [Å].
    """

    orientation: Orientation
    rotation_uncertainty: float = 0.0
    aberrations: Mapping[str, float] = field(default_factory=dict)
    defocus_uncertainty: float = 0.0


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
        """Whether the parity changes, so that the volume is mirrored along y."""
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
        mu = math.degrees(math.atan2(yx, xx))  # direction of N x
        phi, theta, psi = euler_angles
        rotated = (-phi, theta, wrapped(mu - psi)) if self.mirrored else (phi, theta, wrapped(psi + mu))
        y, x = translation
        return rotated, (yy * y + yx * x, xy * y + xx * x)


def calibrated(
    file_orientation: Orientation,
    file_aberrations: Mapping[str, float],
    measured: MeasuredOptics,
    *,
    depth_of_field: float = 0.0,
) -> Calibration:
    """Return the file's calibration of one tilt, corrected where `measured` contradicts it.

    Parameters
    ----------
    file_orientation, file_aberrations
        From the file; without a defocus there, the measured one is taken.
    measured
        From the bright field.
    depth_of_field
        lambda/alpha² [Å]: defocus is known to a fraction of it at best.
    """
    in_file, in_data = to_cartesian(file_aberrations, 3), to_cartesian(measured.aberrations, 3)
    matrix, of_rotation = _rotation(file_orientation, measured.orientation, measured.rotation_uncertainty)
    smallest = max(SIGNIFICANT * measured.defocus_uncertainty, DEPTH_FRACTION * depth_of_field)
    aberrations, of_defocus = _aberrations(file_aberrations, in_file, in_data, measured.aberrations, smallest)
    return Calibration(aberrations, matrix, f"{of_rotation}; {of_defocus}")


def _rotation(in_file: Orientation, in_data: Orientation, uncertainty: float) -> tuple[Matrix, str]:
    """Return the matrix N, and the sentence that explains it."""
    difference = wrapped(in_data.rotation - in_file.rotation)
    limit = max(SIGNIFICANT * uncertainty, SMALLEST_ROTATION)
    parity_changes = in_data.transposed != in_file.transposed
    if not parity_changes and abs(difference) <= limit:
        return UNCHANGED, (
            f"the file's scan rotation is kept (the data differ by {difference:+.1f}°, less than {limit:.1f}°)"
        )
    (a, b), (c, d) = (in_data.matrix() @ in_file.matrix().T).tolist()
    if parity_changes:
        contradiction = "and the detector is transposed: the data contradict the parity of the file"
    else:
        contradiction = f"because the data contradict it by {difference:+.1f}°, more than {limit:.1f}°"
    return ((a, b), (c, d)), (
        f"the scan rotation is changed from the file's {in_file.rotation:.1f}° to {in_data.rotation:.1f}°, "
        f"{contradiction}"
    )


def _aberrations(
    file_aberrations: Mapping[str, float],
    in_file: Float[Tensor, " term"],
    in_data: Float[Tensor, " term"],
    names: Collection[str],
    smallest: float,
) -> tuple[dict[str, float], str]:
    """Return the aberrations to use, and the sentence that explains them; `names` are the measured ones."""
    difference = torch.linalg.vector_norm((in_data - in_file)[:3]).item()  # defocus and twofold astigmatism
    limit = max(smallest, SMALLEST_CHANGE * torch.linalg.vector_norm(in_data[:3]).item())
    file_defocus = -in_file[0].item() + 0.0
    if difference <= limit:
        kept = f"the file's defocus of {file_defocus:.4g} Å is kept (the data differ by {difference:.3g} Å)"
        return dict(file_aberrations), kept
    used = {name: value for name, value in to_polar(in_data).items() if name in names}
    return used, f"defocus is changed from the file's {file_defocus:.4g} Å to {-used['C10']:.4g} Å"
