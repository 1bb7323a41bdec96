r"""What atoms in thermal motion do to the electron wave: they smear it, absorb from it, and scatter that diffusely.

Every electron meets atoms that are displaced, each on its own, by a normal law of variance B / (8 pi²) along each
axis (Einstein's model). The patterns of all electrons add up to

- that of the mean wave. Behind an atom it is <exp(i sigma v)> times the wave in front, and as the mean of numbers of
  modulus 1 is smaller, this is a complex potential that absorbs:

      U(r) = -i ln <exp(i sigma v(r - u))> / sigma          Im U > 0

- and the diffuse scattering of what is absorbed, without interference between atoms:

      D(q) = |t(q)|² (1 - exp(-B q²/2)),       t = exp(i sigma v) - 1

v is the projected potential of the atom at rest. Smearing v by the Debye-Waller factor is the first order of U: of Pt
at 300 keV and B = 0.5 Å², Im U is a sixth of Re U at 1 1/Å, and a quarter at 2 1/Å.
"""

import functools
import math

import numpy as np
import torch
from jaxtyping import Complex, Float, Float64
from scipy.interpolate import CubicSpline
from torch import Tensor

from dptt.physics.electron import POTENTIAL_PER_SCATTERING_FACTOR
from dptt.simulation.scattering import gaussian_coefficients

_PIXEL, _PIXELS = 0.02, 512
"""[Å] of the grid on which U and D are computed: finer than the core of any atom, wider than any potential."""
_LEAST_BLUR = 1e-9
"""Only rounding is left of smaller ones; quotients would magnify it."""


def effective_potential(
    atomic_number: int, k: Float[Tensor, "*shape"], *, sigma: float, b_factor: float
) -> Complex[Tensor, "*shape"]:
    """Return the Fourier transform of U [V Å³] at spatial frequencies `k` [1/Å], over exp(-B k²/4).

    Without motion it is that of the potential at rest, so that the quotient changes little with B.

    Parameters
    ----------
    sigma
        Interaction constant [rad/(V Å)].
    b_factor
        B [Å²], 0 or more.
    """
    at = k.cpu().numpy()
    amplitudes, widths = gaussian_coefficients(atomic_number)
    rest = sum(a * np.exp(-b / 4 * at**2) for a, b in zip(amplitudes, widths, strict=True))
    beyond = _beyond_smearing(atomic_number, sigma, b_factor)(at)
    return torch.from_numpy(np.asarray(POTENTIAL_PER_SCATTERING_FACTOR * rest + beyond)).to(k.device)


def diffuse_distribution(
    atomic_number: int, q: Float[Tensor, "*shape"], *, sigma: float, b_factor: float
) -> Float[Tensor, "*shape"]:
    """Return D(q) [Å²] over its integral, at scattering vectors `q` [1/Å]; arguments as in `effective_potential`."""
    return torch.from_numpy(_diffuse(atomic_number, sigma, b_factor)(q.cpu().numpy())).to(q.device)


@functools.cache
def _frequencies() -> Float64[np.ndarray, "y x"]:
    """Return |k| [1/Å] in FFT order."""
    k = np.fft.fftfreq(_PIXELS, _PIXEL)
    return np.hypot(k[:, None], k)


def _at_rest(atomic_number: int) -> Float64[np.ndarray, "y x"]:
    """Return v [V Å] about the first pixel."""
    place = np.fft.fftfreq(_PIXELS, 1 / (_PIXELS * _PIXEL))
    a, b = (np.asarray(each) for each in gaussian_coefficients(atomic_number))
    along = np.exp(-4 * math.pi**2 / b[:, None] * place**2)
    return POTENTIAL_PER_SCATTERING_FACTOR * np.einsum("g,gy,gx->yx", a * 4 * math.pi / b, along, along)


def _radial(spectrum: np.ndarray) -> CubicSpline:
    """Return a function of |k| that is a radial function of the frequencies of the grid."""
    half = _PIXELS // 2
    return CubicSpline(_frequencies()[0, :half], spectrum[0, :half])


@functools.lru_cache(maxsize=64)
def _beyond_smearing(atomic_number: int, sigma: float, b_factor: float) -> CubicSpline:
    """Return the transform of U less the smeared potential, over exp(-B k²/4)."""
    rest, blur = _at_rest(atomic_number), np.exp(-b_factor / 4 * _frequencies() ** 2)
    smeared = np.fft.ifft2(np.fft.fft2(rest) * blur).real
    mean = np.fft.ifft2(np.fft.fft2(np.exp(1j * sigma * rest)) * blur)
    beyond = -1j * np.log(mean * np.exp(-1j * sigma * smeared)) / sigma  # of a small phase, which does not wrap
    return _radial(np.fft.fft2(beyond) * _PIXEL**2 / np.maximum(blur, _LEAST_BLUR))


@functools.lru_cache(maxsize=64)
def _diffuse(atomic_number: int, sigma: float, b_factor: float) -> CubicSpline:
    scattered = np.abs(np.fft.fft2(np.exp(1j * sigma * _at_rest(atomic_number)) - 1)) ** 2
    lost = scattered * -np.expm1(-b_factor / 2 * _frequencies() ** 2)
    density = lost / max(lost.sum(), np.finfo(float).tiny) * (_PIXELS * _PIXEL) ** 2
    return _radial(density)
