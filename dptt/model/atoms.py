"""Atoms as the unknowns of the forward model: where they are, how much of each is there, how far they move."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

PARAMETERS = ("z", "y", "x", "occupancy", "b_factor")
"""Columns of the packed parameters, and of every gradient by atom."""


@dataclass(frozen=True)
class Atoms:
    """Independent atoms about the rotation centre, double precision, on the host.

    The potential of an atom is occupancy × that of its element ([P] eq. 4 with the form factors of
    `simulation.scattering`), blurred by exp(-B k²/4); B = 8 pi² u² with u the rms displacement along one axis.
    """

    positions: Float[Tensor, "atom 3"]
    """(z, y, x) [Å] relative to the rotation centre."""
    occupancies: Float[Tensor, " atom"]
    """Fraction of the element's potential: 1 for an atom that is there all the time."""
    b_factors: Float[Tensor, " atom"]
    """B [Å²]; a fit may return a small negative one for an atom at rest."""
    atomic_numbers: Int[Tensor, " atom"]

    def __len__(self) -> int:
        return len(self.positions)

    def packed(self) -> Float[Tensor, "atom 5"]:
        """Return the parameters in the order of `PARAMETERS`."""
        return torch.cat([self.positions, self.occupancies[:, None], self.b_factors[:, None]], dim=1)

    def with_parameters(self, packed: Float[Tensor, "atom 5"]) -> "Atoms":
        """Return atoms of the same elements with other parameters."""
        return Atoms(packed[:, :3].clone(), packed[:, 3].clone(), packed[:, 4].clone(), self.atomic_numbers)

    def chosen(self, which: Int[Tensor, " some"] | Bool[Tensor, " atom"]) -> "Atoms":
        """Return the atoms with these numbers, or of this mask."""
        return Atoms(
            self.positions[which], self.occupancies[which], self.b_factors[which], self.atomic_numbers[which]
        )

    def joined(self, others: "Atoms") -> "Atoms":
        """Return these atoms and then `others`."""
        pairs = zip(
            (self.positions, self.occupancies, self.b_factors, self.atomic_numbers),
            (others.positions, others.occupancies, others.b_factors, others.atomic_numbers),
            strict=True,
        )
        return Atoms(*(torch.cat(pair) for pair in pairs))
