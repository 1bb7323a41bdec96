"""Atoms fitted to the patterns as the page shows them: spheres by element, ellipsoids of errors, what is doubtful."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PALETTE = ("#3f90da", "#ffa90e", "#94a4a2", "#bd1f01", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581")
"""Of the elements, the lightest first; beyond these colours repeat. Petroff's, which the colour-blind tell apart."""
SIGNIFICANT = 4.0
"""Standard errors of its occupancy below which an atom cannot be told from noise."""
ELLIPSOID = 0.5
"""Median of the longest semi-axes of the drawn ellipsoids [Å]."""
MOST_DOUBTFUL = 200
"""Rows of the table; the file has them all."""


@dataclass(frozen=True)
class FittedAtoms:
    """Fitted atoms, one row each.

    Attributes
    ----------
    positions : array (n, 3)
        (z, y, x) [Å] from voxel ``n // 2``.
    errors : array (n, 5)
        Standard errors of z, y, x [Å], occupancy, B [Å²].
    symbols : sequence
        The likeliest element.
    occupancies : array (n,)
    probabilities : array (n, elements)
        Of the `elements`.
    elements : sequence
        Symbols of the elements that an atom may be, the lightest first.
    told : array (n,)
        Whether the patterns tell the element.
    """

    positions: NDArray[np.floating]
    errors: NDArray[np.floating]
    symbols: Sequence[str]
    occupancies: NDArray[np.floating]
    probabilities: NDArray[np.floating]
    elements: Sequence[str]
    told: NDArray[np.bool_]

    def doubtful(self) -> list[int]:
        """Return the atoms whose element is not told, or that cannot be told from noise."""
        return np.flatnonzero(~self.told | ~self.significant()).tolist()

    def significant(self) -> NDArray[np.bool_]:
        """Return which atoms are more than noise (n,)."""
        return self.occupancies > SIGNIFICANT * self.errors[:, 3]

    def colours(self) -> dict[str, str]:
        """Return the colour of every element that may be there."""
        return {symbol: PALETTE[number % len(PALETTE)] for number, symbol in enumerate(self.elements)}


def fitted_space(atoms: FittedAtoms) -> dict[str, Any]:
    """Return what the rotatable view draws: places and errors (x, y, z) [Å], the element of each, and colours.

    Errors are drawn `magnification` times as large as they are.
    """
    errors = np.nan_to_num(atoms.errors[:, 2::-1], posinf=0.0)
    longest = float(np.median(errors.max(axis=1))) if len(errors) else 0.0
    magnification = _rounded(ELLIPSOID / longest) if longest > 0 else 1.0
    colours = atoms.colours()
    counts = {symbol: list(atoms.symbols).count(symbol) for symbol in colours}
    return {
        "positions": np.round(atoms.positions[:, ::-1], 3).tolist(),
        "axes": np.round(np.minimum(errors * magnification, 4 * ELLIPSOID), 3).tolist(),
        "element": [list(colours).index(symbol) for symbol in atoms.symbols],
        "elements": [{"symbol": s, "colour": colour, "count": counts[s]} for s, colour in colours.items()],
        "magnification": magnification,
    }


def doubtful_rows(atoms: FittedAtoms) -> list[list[str]]:
    """Return the table of `FittedAtoms.doubtful`, with its head; empty if no atom is."""
    numbers = atoms.doubtful()
    if not numbers:
        return []
    significant = atoms.significant()
    rows = [["Atom", "x, y, z [Å]", "Occupancy", *atoms.elements, ""]]
    for number in numbers[:MOST_DOUBTFUL]:
        doubt = "element not told" if significant[number] else "not told from noise"
        rows.append(
            [
                str(number),
                ", ".join(f"{value:.2f}" for value in atoms.positions[number, ::-1]),
                f"{atoms.occupancies[number]:.2f} ± {atoms.errors[number, 3]:.2f}",
                *(f"{100 * value:.0f} %" for value in atoms.probabilities[number]),
                doubt,
            ]
        )
    return rows


def _rounded(value: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten that is not above `value`."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(power * max(step for step in (1, 2, 5) if step * power <= value * (1 + 1e-9)))
