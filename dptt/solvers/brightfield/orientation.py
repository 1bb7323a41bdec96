"""The orientation of the scan relative to the detector: one orthogonal 2x2 matrix.

A raster scan visits u = (i step_y, j step_x), where the probe is at p = M u in the frame of the detector. The eight
flips and transpositions of the detector, combined with any scan rotation, give one orthogonal M per tilt: an angle a
and a parity. As keys of the `import` section

    M = R(a)        `scan.rotation: a`                                R(a) = [[cos a, -sin a], [sin a, cos a]] on
    (y, x) M = T R(a)      the same and the detector transposed once more    T = [[0, 1], [1, 0]]

so y = i cos a - j sin a, x = i sin a + j cos a, the README's convention, with the detector as the file stores it.
Flipping both axes of the detector is a rotation by 180 degrees; flipping one is a transposition and a rotation by
±90 degrees.

Every setting of a specimen that does not absorb has an exact twin: a -> a + 180, all chi -> -chi, V(r) -> -V(-r)
gives identical intensities. Only prior knowledge of V, that potentials are positive, distinguishes the two.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

TRANSPOSITION = ((0.0, 1.0), (1.0, 0.0))
Matrix = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Orientation:
    """Scan rotation [degrees] and whether the stored detector frame must be transposed."""

    rotation: float
    transposed: bool

    def matrix(self) -> Float[Tensor, "2 2"]:
        """Return M, from raster coordinates (i, j) to the stored detector frame (y, x)."""
        rotated = rotation_matrix(self.rotation)
        return torch.tensor(TRANSPOSITION, dtype=torch.float64) @ rotated if self.transposed else rotated

    def rotated(self, angle: float) -> "Orientation":
        """Return this orientation with the scan rotated by a further `angle` [degrees]."""
        return Orientation(wrapped(self.rotation + angle), self.transposed)


def rotation_matrix(angle: float) -> Float[Tensor, "2 2"]:
    """Return R(a) on (y, x) for `angle` [degrees]."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)


def orientation_of(matrix: Float[Tensor, "2 2"]) -> Orientation:
    """Return rotation and parity of an orthogonal (or nearly orthogonal) matrix M."""
    transposed = bool(torch.linalg.det(matrix) < 0)
    rotation = torch.tensor(TRANSPOSITION, dtype=matrix.dtype) @ matrix if transposed else matrix
    angle = math.atan2((rotation[1, 0] - rotation[0, 1]).item(), (rotation[0, 0] + rotation[1, 1]).item())
    return Orientation(wrapped(math.degrees(angle)), transposed)


def wrapped(angle: float, period: float = 360.0) -> float:
    """Return `angle` [degrees] in (-period/2, period/2]."""
    return period / 2 - (period / 2 - angle) % period + 0.0  # no minus zero


def detector_matrix(transpose: bool, flip_y: bool, flip_x: bool) -> Float[Tensor, "2 2"]:
    """Return the matrix (y, x) of the import section's detector settings: transposition first, then the flips."""
    flips = torch.diag(torch.tensor([-1.0 if flip_y else 1.0, -1.0 if flip_x else 1.0], dtype=torch.float64))
    return flips @ torch.tensor(TRANSPOSITION, dtype=torch.float64) if transpose else flips
