"""Aberrations of the probe-forming lens: their phase chi, and the shifts that they give virtual images.

Polar coefficients (Cnm [Å], phinm [degrees] from +x towards +y) are what files, configurations and users have; chi is

    chi(alpha) = 2 pi/lambda sum_nm Cnm |alpha|^(n+1)/(n+1) cos(m (phi - phi_nm))           [Kirkland 2020, eq. 2.22]

Fits need coefficients in which chi is linear, and derivatives at the origin, where the azimuth has none. They use
Cartesian coefficients: a pair (Cnm, phinm) becomes (Cnm cos(m phinm), Cnm sin(m phinm)), both lengths [Å]. With
w = alpha_x + i alpha_y

    chi(alpha) = 2 pi/lambda sum_nm Re[(a_nm - i b_nm) w^m] |w|^(n+1-m) / (n+1).

`aberration_phase` evaluates the first form, `cartesian_phase` the second; a test compares them.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

ABERRATION_NAMES = (
    "C10",
    "C12",
    "phi12",
    "C21",
    "phi21",
    "C23",
    "phi23",
    "C30",
    "C32",
    "phi32",
    "C34",
    "phi34",
)
"""Polar aberration coefficients: Cnm [Å], phinm [degrees] from +x towards +y."""

TERMS = ((1, 0), (1, 2), (2, 1), (2, 3), (3, 0))
"""(n, m) of the aberrations Cnm that are fitted, in ascending order."""


def aberration_phase(
    ky: Float[Tensor, "y 1"], kx: Float[Tensor, "1 x"], wavelength: float, aberrations: Mapping[str, float]
) -> Float[Tensor, "y x"]:
    """Return chi(k) [rad] = 2 pi/lambda sum_nm Cnm alpha^(n+1)/(n+1) cos(m (phi - phi_nm)) [Kirkland 2020, eq. 2.22].

    Parameters
    ----------
    ky, kx
        Spatial frequencies [1/Å]; alpha = lambda |k|.
    wavelength
        Electron wavelength [Å].
    aberrations
        Coefficients by name, see `ABERRATION_NAMES`; missing ones are zero.

    Raises
    ------
    ValueError
        If a name is not one of `ABERRATION_NAMES`.
    """
    unknown = sorted(set(aberrations) - set(ABERRATION_NAMES))
    if unknown:
        raise ValueError(f"unknown aberrations {unknown}; expected names from {', '.join(ABERRATION_NAMES)}")
    alpha = wavelength * torch.sqrt(ky**2 + kx**2)
    azimuth = torch.atan2(ky.expand_as(alpha), kx.expand_as(alpha))
    path = torch.zeros_like(alpha)
    for name, value in aberrations.items():
        if name.startswith("phi") or value == 0:
            continue
        order, symmetry = int(name[1]), int(name[2])
        axis = math.radians(aberrations.get(f"phi{order}{symmetry}", 0.0))
        path = path + value * alpha ** (order + 1) / (order + 1) * torch.cos(symmetry * (azimuth - axis))
    return 2 * math.pi / wavelength * path


def term_names(order: int) -> tuple[str, ...]:
    """Return the names of the Cartesian coefficients up to `order`: ``C10, C12a, C12b, C21a, ...``."""
    names = [(f"C{n}{m}",) if m == 0 else (f"C{n}{m}a", f"C{n}{m}b") for n, m in TERMS if n <= order]
    return tuple(name for pair in names for name in pair)


def to_cartesian(aberrations: Mapping[str, float], order: int) -> Float[Tensor, " term"]:
    """Return the coefficients [Å] of `term_names`; aberrations that are not in `TERMS` are dropped."""
    values = []
    for n, m in TERMS:
        if n > order:
            continue
        size = aberrations.get(f"C{n}{m}", 0.0)
        angle = math.radians(m * aberrations.get(f"phi{n}{m}", 0.0))
        values += [size] if m == 0 else [size * math.cos(angle), size * math.sin(angle)]
    return torch.tensor(values, dtype=torch.float64)


def to_polar(coefficients: Float[Tensor, " term"]) -> dict[str, float]:
    """Return Cnm [Å] and phinm [degrees] of a vector of coefficients; Cnm of m > 0 are never negative."""
    named = dict(zip(term_names(3), coefficients.tolist(), strict=False))
    polar: dict[str, float] = {}
    for n, m in TERMS:
        if m == 0 and f"C{n}0" in named:
            polar[f"C{n}0"] = named[f"C{n}0"]
        elif f"C{n}{m}a" in named:
            a, b = named[f"C{n}{m}a"], named[f"C{n}{m}b"]
            polar[f"C{n}{m}"], polar[f"phi{n}{m}"] = math.hypot(a, b), math.degrees(math.atan2(b, a)) / m
    return polar


def cartesian_phase(
    angles: Float[Tensor, "*point 2"], wavelength: float, coefficients: Float[Tensor, " term"]
) -> Float[Tensor, "*point"]:
    """Return chi [rad] at `angles` (y, x) [rad]; the number of `coefficients` determines the order."""
    y, x = angles[..., 0], angles[..., 1]
    square = x * x + y * y
    path = torch.zeros_like(x)
    remaining = list(coefficients)
    for n, m in TERMS:
        if not remaining:
            break
        radial = square ** ((n + 1 - m) // 2) / (n + 1)
        if m == 0:
            path = path + remaining.pop(0) * radial
        else:
            real, imaginary = _power(x, y, m)
            path = path + radial * (remaining.pop(0) * real + remaining.pop(0) * imaginary)
    return 2 * math.pi / wavelength * path


def shift_basis(angles: Float[Tensor, "*point 2"], order: int) -> Float[Tensor, "*point 2 term"]:
    """Return the derivative of grad chi / 2 pi (y, x) [Å] by the coefficients [Å], at `angles` (y, x) [rad].

    A virtual image at detector angle alpha is shifted by -grad chi(alpha) / 2 pi, chi as a function of k =
    alpha/lambda.
    """
    y, x = angles[..., 0], angles[..., 1]
    square = x * x + y * y
    columns: list[Tensor] = []
    for n, m in TERMS:
        if n > order:
            continue
        half = (n + 1 - m) // 2
        real, imaginary = _power(x, y, m)
        lower_real, lower_imaginary = _power(x, y, max(m - 1, 0))
        # d(w^m)/dx = m w^(m-1), d(w^m)/dy = i m w^(m-1); d|w|^(2h) = 2h |w|^(2h-2) (y, x)
        radial = 2 * half * square ** max(half - 1, 0)
        along_real = (-m * lower_imaginary, m * lower_real)
        along_imaginary = (m * lower_real, m * lower_imaginary)
        for power, slope in ((real, along_real), (imaginary, along_imaginary))[: 1 if m == 0 else 2]:
            gradient = [slope[d] * square**half + power * radial * (y, x)[d] for d in (0, 1)]
            columns.append(torch.stack(gradient, dim=-1) / (n + 1))
    return torch.stack(columns, dim=-1)


def _power(x: Tensor, y: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """Return real and imaginary part of (x + i y)^m."""
    if m == 0:
        return torch.ones_like(x), torch.zeros_like(x)
    real, imaginary = x, y
    for _ in range(m - 1):
        real, imaginary = real * x - imaginary * y, real * y + imaginary * x
    return real, imaginary


def order_of(coefficients: Float[Tensor, " term"]) -> int:
    """Return the highest order n among the Cnm of a vector of coefficients."""
    return next(order for order in (1, 2, 3) if len(term_names(order)) == len(coefficients))
