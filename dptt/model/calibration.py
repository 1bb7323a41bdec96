"""What a tilt's experiment has beside its pose, as one row of numbers: scan, descan, focus, background, blur.

Scan positions are stretched, turned and sheared by a matrix 1 + M about their centre. The pattern of position p [Å]
is displaced on the detector by D p + z, p counted from the rotation axis. The focus is a change of the probe that a
run starts with. The background is the same in every pixel of every pattern, and the blur is the detector's point
spread. Zeros are the nominal experiment.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from dptt.physics.grid import spatial_frequencies
from dptt.physics.point_spread import LARGEST_VARIANCE, variance_of, width_of

SCAN, DESCAN, ZERO_ANGLE, FOCUS = slice(0, 4), slice(4, 8), slice(8, 10), slice(10, 13)
BACKGROUND, BLUR = slice(13, 14), slice(14, 15)
"""M by `SCAN_SHAPES`; D as yy, yx, xy, xx [pixels/Å]; z as y, x [pixels]; C10, C12 cos(2 phi12), C12 sin(2 phi12)
[Å]; electrons of the background as a fraction of those of the mean pattern; variance of the point spread [pixels²],
see `physics.point_spread`."""
NUM_PARAMETERS = 15
SCAN_SHAPES = torch.tensor(
    [[[1, 0], [0, 1]], [[1, 0], [0, -1]], [[0, -1], [1, 0]], [[0, 1], [1, 0]]], dtype=torch.float64
)
"""Matrices on (y, x) that sum to M, times the parameters of SCAN: a larger scale, y longer than x, a rotation [rad]
as the option `simulation.scan.rotation` counts it, a symmetric shear."""


UNITS = {
    "scan_scale_percent": 100.0,
    "scan_y_longer_than_x_percent": 200.0,
    "scan_rotation_deg": math.degrees(1.0),
    "scan_shear_percent": 200.0,
    **{f"descan_{elements}_px_per_A": 1.0 for elements in ("yy", "yx", "xy", "xx")},
    **{f"zero_angle_{axis}_px": 1.0 for axis in "yx"},
    **{name: 1.0 for name in ("C10_change_A", "C12_cos_change_A", "C12_sin_change_A")},
    "background_percent": 100.0,
}
"""Name of every parameter but the blur in result files -> what it is multiplied with there."""
BLUR_NAME = "blur_px"
"""Of the blur there, where it is the standard deviation of a Gaussian [pixels]."""


def scan_matrix(calibration: Float[Tensor, " _"]) -> Float[Tensor, "2 2"]:
    """Return the matrix 1 + M on (y, x)."""
    return torch.eye(2, dtype=torch.float64) + torch.einsum("s,sij->ij", calibration[SCAN], SCAN_SHAPES)


def pattern_shifts(
    calibration: Float[Tensor, " parameter"], positions: Float[Tensor, "pos 2"]
) -> Float[Tensor, "pos 2"] | None:
    """Return by how much the patterns of `positions` [Å] are displaced [pixels]; None if none is."""
    if not bool(calibration[DESCAN].any() or calibration[ZERO_ANGLE].any()):
        return None
    return positions @ calibration[DESCAN].reshape(2, 2).T + calibration[ZERO_ANGLE]


def focus_change(
    window_shape: tuple[int, int], sampling: tuple[float, float], wavelength: float, focus: Float[Tensor, "3"]
) -> Complex[Tensor, "y x"]:
    """Return the factor of a probe's spectrum by which its FOCUS parameters grow by `focus` [Å]."""
    paths = focus_paths(*spatial_frequencies(window_shape, sampling))
    phase = -math.pi * wavelength * sum(value * path for value, path in zip(focus.tolist(), paths, strict=True))
    return torch.polar(torch.ones_like(phase), phase)


def focus_paths(ky: Float[Tensor, "y 1"], kx: Float[Tensor, "1 x"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for each of the FOCUS parameters, chi / (pi lambda) of 1 Å [1/Å²]; see `physics.aberrations`."""
    return ky**2 + kx**2, kx**2 - ky**2, 2 * kx * ky


def readable(
    calibration: Float[Tensor, " parameter"], errors: Float[Tensor, " parameter"]
) -> dict[str, tuple[float, float]]:
    """Return what was found, each with its standard deviation, by name and unit; what is not known is left out.

    What an earlier step found and this one does not look for has no error. Small scales, rotations and shears are
    meant: the rotation is that of 1 + M to first order.
    """
    rows = zip(UNITS.items(), calibration.tolist(), errors.tolist(), strict=False)
    found = {name: (unit * value, unit * sigma) for (name, unit), value, sigma in rows if sigma > 0 or value}
    variance, sigma = calibration[BLUR].item(), errors[BLUR].item()
    if sigma > 0 or variance:
        lower, upper = (width_of(min(max(variance + way * sigma, 0.0), LARGEST_VARIANCE)) for way in (-1, 1))
        found[BLUR_NAME] = width_of(variance), (upper - lower) / 2
    return found


def parameters_of(values: Mapping[str, Any]) -> Float[Tensor, " parameter"]:
    """Return the parameters of a tilt from the names and values of `readable` in a result file; zero if absent."""
    others = [float(values.get(name, 0.0)) / unit for name, unit in UNITS.items()]
    return torch.tensor([*others, variance_of(float(values.get(BLUR_NAME, 0.0)))], dtype=torch.float64)
