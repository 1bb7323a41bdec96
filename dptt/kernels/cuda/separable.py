"""The adjoint of a propagation as convolutions along y and x: what the tensor cores multiply with (`tensor.cuh`)."""

import torch
from jaxtyping import Complex, Int
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from dptt.kernels.cuda.plan import parts_of, tiles_of

_TOLERANCE = 1e-6
"""Of |P - p qᵀ| / |P|: some roundings of single precision, where a mask that is not a rectangle leaves 1."""
_FACTORS = 256
"""Tried between 1 and 2; the error of eight slices falls from 3e-3 to 1e-3 with them, and no further with more."""
_known = WeakTensorKeyDictionary()
"""All minibatches of a tilt have the same propagator, and looking into it waits for the GPU."""


def adjoint_kernels(propagator: Complex[Tensor, "y x"]) -> Int[Tensor, " number"] | None:
    """Return the convolution kernels of the adjoint along y and x, or None if P(ky, kx) is no p(ky) q(kx).

    They are remembered: `propagator` may not be changed in place afterwards.
    """
    if propagator not in _known:
        factors = factors_of(propagator)
        _known[propagator] = factors and torch.cat([_halves(_parts(factor.conj())).flatten() for factor in factors])
    found: Tensor | None = _known[propagator]
    return found


def factors_of(propagator: Complex[Tensor, "y x"]) -> tuple[Tensor, Tensor] | None:
    """Return p(ky) and q(kx) whose product is the propagator, None if there are none."""
    exact = propagator.to(torch.complex128)
    along_y, along_x = exact[:, 0], exact[0] / exact[0, 0]
    error = (along_y[:, None] * along_x - exact).abs().max()
    return (along_y, along_x) if error <= _TOLERANCE * exact.abs().max() else None


def _parts(factor: Complex[Tensor, " n"]) -> Complex[Tensor, "part number"]:
    """Return a_k(d) = sum_s exp(-2 pi i s k/R) a(m s + d) / R for every part k: see `tensor.cuh`.

    The convolution kernel is a = F⁻¹ factor, n = R m; d goes from minus to plus m, made a multiple of 8.
    """
    length = len(factor)
    parts = parts_of(length)
    part, reach = length // parts, 8 * tiles_of(length)
    differences = torch.arange(-reach, reach, device=factor.device)
    starts = torch.arange(0, length, part, device=factor.device)
    kernel = torch.fft.ifft(factor)[(starts[:, None] + differences) % length]
    return torch.fft.fft(kernel, dim=0) * (differences.abs() < part) / parts


def _halves(kernels: Complex[Tensor, "part number"]) -> Int[Tensor, "part number"]:
    """Return numbers as two halves (re, im) each, and first, where no product reads, what to multiply a part with.

    A number that is rounded in every step makes an error that grows with the steps, while those of the waves, as
    random as noise, grow with their root. So a part is multiplied with what makes its numbers nearly halves.
    """
    factors = 2 ** (torch.arange(_FACTORS, device=kernels.device, dtype=torch.float64) / _FACTORS)
    tried = torch.view_as_real(factors[:, None, None] * kernels).half()
    rounded = torch.view_as_complex(tried.double())
    norms = rounded.abs().square().sum(-1).clamp(min=torch.finfo(torch.float32).tiny)  # a part may be zero
    inverse = (rounded.conj() * kernels).real.sum(-1) / norms
    errors = (inverse[..., None] * rounded - kernels).abs().square().sum(-1)
    best = errors.argmin(0), torch.arange(len(kernels), device=kernels.device)
    words = tried[best].view(torch.int32).squeeze(-1)
    words[:, 0] = inverse[best].float().view(torch.int32)
    return words
