"""The gradient of a minibatch with respect to its slices, collected and summed as the adjoint finishes them."""

from collections.abc import Callable

import torch
from jaxtyping import Complex, Inexact
from torch import Tensor

from dptt.distributed.comm import Communicator
from dptt.physics.potential import transmission_gradient


class SliceGradient:
    """dL/d(projected potential) of every slice [1/(V Å)].

    Parameters
    ----------
    transmission
        Of the slices.
    sigma
        Interaction constant [rad/(V Å)].
    dtype
        Of the potential; of a real one, only the real part is kept.
    communicator
        Its ranks sum every slice while the next is computed; None to leave the sum to the caller.
    """

    def __init__(
        self,
        transmission: Complex[Tensor, "slice y x"],
        sigma: float,
        dtype: torch.dtype,
        communicator: Communicator | None = None,
    ) -> None:
        self._transmission, self._sigma, self._communicator = transmission, sigma, communicator
        self._values = transmission.new_empty(transmission.shape, dtype=dtype)
        self._sums: list[Callable[[], None]] = []

    @property
    def summed(self) -> bool:
        """Whether `total` is the sum over ranks."""
        return self._communicator is not None

    def add(self, slices: slice, gradient: Complex[Tensor, "slice y x"]) -> None:
        """Take dL/d(transmission) of some `slices`, of each slice once; see `kernels.batch.Finished`."""
        by_potential = transmission_gradient(gradient, self._transmission[slices], self._sigma)
        self._values[slices] = by_potential if self._values.is_complex() else by_potential.real
        if self._communicator is not None:
            # one by one from the last to the first, whatever comes at once: every rank must send the same messages
            for number in reversed(range(len(self._values))[slices]):
                self._sums.append(self._communicator.begin_sum(self._values[number]))

    def total(self) -> Inexact[Tensor, "slice y x"]:
        """Wait for the sums over ranks, and return the gradient of all slices."""
        for end in self._sums:
            end()
        self._sums.clear()
        return self._values
