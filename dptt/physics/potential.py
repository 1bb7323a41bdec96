"""The transmission function of a projected potential, and its derivative."""

import torch
from jaxtyping import Complex, Inexact
from torch import Tensor


def transmission(slices: Inexact[Tensor, "slice y x"], sigma: float) -> Complex[Tensor, "slice y x"]:
    """Return exp(i sigma V) of projected potentials `slices` [V Å] ([P] eq. 5); Im V > 0 absorbs.

    `sigma` is the interaction constant [rad/(V Å)].
    """
    if slices.is_complex():
        return torch.exp(1j * sigma * slices)
    phase = sigma * slices
    return torch.complex(torch.cos(phase), torch.sin(phase))


def transmission_gradient(
    gradient: Complex[Tensor, "slice y x"], transmitted: Complex[Tensor, "slice y x"], sigma: float
) -> Complex[Tensor, "slice y x"]:
    """Return dL/dV from dL/dT for T = exp(i sigma V): conj(i sigma T) dL/dT, the factor i sigma of [P] eq. 18."""
    return -1j * sigma * transmitted.conj() * gradient
