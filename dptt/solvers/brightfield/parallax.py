"""Shifts of the virtual bright-field images with detector angle, and the aberrations and rotation that cause them.

The virtual image of detector angle alpha, along the raster's axes, is shifted by

    s(alpha) = -M^T grad chi(alpha) / 2 pi  =  A alpha + higher orders,     A = -M^T C,   C symmetric.

Each image is correlated with the sum of all others, shifted back by the current estimate; a robust linear fit of the
measured shifts gives the next estimate. M is the start's times a rotation, such that C is symmetric: that leaves the
two twins, of which the one nearer to the start is taken. The shifts alone do not determine the parity if the twofold
astigmatism exceeds the defocus, and never the choice between the twins; the contrast of the images does, see
`search`, so both are the start's. If the shifts want a rotation by about 90°, either twin is as near, and rounding
would choose the sign of the defocus: then the rotation of the start is kept.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from dptt.physics.aberrations import shift_basis, term_names
from dptt.solvers.brightfield.data import BrightFieldData
from dptt.solvers.brightfield.orientation import Orientation, orientation_of, rotation_matrix
from dptt.solvers.brightfield.transfer import Sidebands

ROUNDS = 3
"""Rounds of correlation and fit."""
OUTLIER = 2.0
"""Multiple of the typical residual beyond which a shift has less weight in the fit (Huber)."""
FARTHEST_TURN = 60.0
"""[degrees] of rotation from the start beyond which shifts contradict it, and do not choose between the twins."""
LEAST_DEFOCUS = 0.05
"""Share of defocus in the shifts from which they tell the rotation: astigmatism alone looks alike at every one."""
NEARER = 1e-9
"""Of the largest correlation, by which the edge of the search must exceed its centre: more than rounding."""
COARSE, FINE = 9, 5
"""Samples of the correlation from its centre to its edge: over the range of the search, then about the peak."""


@dataclass(frozen=True)
class Shifts:
    """Measured shifts.

    Parameters
    ----------
    angles
        Of the images in the stored detector frame (y, x) [mrad], (pixel, 2).
    measured, fitted
        Shifts along the raster's axes (y, x) [Å], (pixel, 2).
    """

    angles: Float[Tensor, "pixel 2"]
    measured: Float[Tensor, "pixel 2"]
    fitted: Float[Tensor, "pixel 2"]

    @property
    def residual(self) -> float:
        """Median distance of a measured shift from the fit [Å]."""
        return torch.linalg.vector_norm(self.measured - self.fitted, dim=1).median().item()


def align(
    data: BrightFieldData,
    bands: Sidebands,
    orientation: Orientation,
    coefficients: Float[Tensor, " term"],
    order: int,
    *,
    rotation: bool = True,
) -> tuple[Orientation, Float[Tensor, " term"], Shifts]:
    """Return orientation, aberrations [Å] and shifts, from a start whose shifts are right within a few scan steps.

    Without `rotation` the orientation is that of the start.
    """
    k = data.angles * 1e-3
    known = len(coefficients)
    fitted = -(shift_basis(k, 3)[..., :known] @ coefficients) @ orientation.matrix()
    reach = 2.0 * max(data.step)
    for _ in range(ROUNDS):
        measured = measure_shifts(data, bands, fitted, reach)
        orientation, coefficients, fitted = fit_shifts(k, measured, orientation, order, rotation=rotation)
        reach = max(data.step)
    return orientation, coefficients, Shifts(data.angles, measured, fitted)


def measure_shifts(
    data: BrightFieldData, bands: Sidebands, predicted: Float[Tensor, "pixel 2"], reach: float
) -> Float[Tensor, "pixel 2"]:
    """Return the shift [Å] of every image, searched within `reach` [Å] of the `predicted` one.

    Each image is correlated with the weighted sum of all others, all shifted back by their predictions. `bands` holds
    frequencies of one half plane.
    """
    back = torch.exp(2j * torch.pi * (bands.frequencies @ predicted.T))
    aligned = bands.spectrum * back * data.weights()
    cross = aligned * (aligned.sum(1, keepdim=True) - aligned).conj()
    coarse = _peak(cross, bands.frequencies, torch.zeros_like(predicted), reach / COARSE, COARSE)
    return predicted + _peak(cross, bands.frequencies, coarse, reach / COARSE / FINE, FINE)


def fit_shifts(
    k: Float[Tensor, "pixel 2"],
    measured: Float[Tensor, "pixel 2"],
    near: Orientation,
    order: int,
    *,
    rotation: bool = True,
) -> tuple[Orientation, Float[Tensor, " term"], Float[Tensor, "pixel 2"]]:
    """Return orientation, aberrations and fitted shifts: A and an offset, and higher orders with M taken from A.

    M has the parity of `near`, and with `rotation` it is turned from there until the aberrations are symmetric.
    """
    first = len(term_names(1))
    orientation, matrix = near, near.matrix()
    for _ in range(2 if order > 1 else 1):  # the higher orders need M, which A gives
        higher = -torch.einsum("pdt,de->pet", shift_basis(k, order)[..., first:], matrix)
        solution = _robust_fit(_columns(k, higher), measured)
        linear = solution[:4].reshape(2, 2)
        if rotation:
            orientation = _turned(near, linear)
            matrix = orientation.matrix()
    symmetric = -matrix @ linear
    cyy, cxx, cyx = symmetric[0, 0], symmetric[1, 1], (symmetric[0, 1] + symmetric[1, 0]) / 2
    coefficients = torch.cat([torch.stack([(cxx + cyy) / 2, (cxx - cyy) / 2, cyx]), solution[6:]])
    fitted = solution[4:6] - (shift_basis(k, order) @ coefficients) @ matrix
    return orientation, coefficients, fitted


def _turned(near: Orientation, linear: Float[Tensor, "2 2"]) -> Orientation:
    """Return `near` turned by up to `FARTHEST_TURN` such that M A, A = `linear`, is symmetric; else `near`."""
    start = near.matrix()
    (yy, yx), (xy, xx) = (start @ linear).tolist()
    if math.hypot(yx - xy, yy + xx) < LEAST_DEFOCUS * linear.norm().item():
        return near
    angle = math.degrees(math.atan2(yx - xy, yy + xx))  # or 180° more: the twin
    if abs(angle) > 90:
        angle -= math.copysign(180.0, angle)
    if abs(angle) > FARTHEST_TURN:
        return near
    return orientation_of(rotation_matrix(angle) @ start)


def _columns(k: Tensor, higher: Tensor) -> Float[Tensor, "pixel 2 column"]:
    """Return the derivatives of the shifts by the unknowns: A (row by row), the offset, the higher orders."""
    one, zero = torch.ones(len(k), dtype=k.dtype), torch.zeros(len(k), dtype=k.dtype)
    along_y = torch.stack([k[:, 0], k[:, 1], zero, zero, one, zero], -1)
    along_x = torch.stack([zero, zero, k[:, 0], k[:, 1], zero, one], -1)
    return torch.cat([torch.stack([along_y, along_x], 1), higher], -1)


def _robust_fit(columns: Float[Tensor, "pixel 2 column"], measured: Float[Tensor, "pixel 2"]) -> Tensor:
    """Return the solution of a linear fit with Huber's weights."""
    scale = columns.flatten(0, 1).norm(dim=0)
    weights = torch.ones(len(measured), dtype=measured.dtype)
    for _ in range(10):
        root = weights.sqrt()[:, None]
        system = ((columns / scale) * root[..., None]).flatten(0, 1)
        solution = torch.linalg.lstsq(system, (measured * root).flatten()[:, None]).solution[:, 0] / scale
        residual = torch.linalg.vector_norm(measured - columns @ solution, dim=1)
        typical = residual.median().clamp_min(1e-12)
        weights = (OUTLIER * typical / residual.clamp_min(1e-12)).clamp(max=1)
    return solution


def _peak(
    cross: Complex[Tensor, "freq pixel"],
    frequencies: Float[Tensor, "freq 2"],
    centre: Float[Tensor, "pixel 2"],
    spacing: float,
    radius: int,
) -> Float[Tensor, "pixel 2"]:
    """Return where the correlation is largest on a grid about `centre` [Å], refined by a parabola."""
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64) * spacing
    moved = cross * torch.exp(2j * torch.pi * (frequencies @ centre.T))
    along_y, along_x = (torch.exp(2j * torch.pi * offsets[:, None] * frequencies[:, d]) for d in (0, 1))
    correlation = torch.stack([((along_y * column) @ along_x.T).real for column in moved.T.contiguous()])
    size = len(offsets)
    distance = (offsets[:, None].square() + offsets.square()).sqrt().flatten() / (spacing * radius)
    flat = correlation.flatten(1)
    best = (flat - NEARER * flat.abs().amax(1, keepdim=True) * distance).argmax(1)
    at = torch.stack([best // size, best % size], 1).clamp(1, size - 2)
    pixel = torch.arange(len(at))
    steps = []
    for unit in torch.eye(2, dtype=torch.int64):
        low, middle, high = (correlation[pixel, *(at + d * unit).T] for d in (-1, 0, 1))
        steps.append((0.5 * (low - high) / (low - 2 * middle + high).clamp(max=-1e-300)).clamp(-1, 1))
    return centre + (at - radius + torch.stack(steps, 1)) * spacing
