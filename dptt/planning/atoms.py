"""How precisely planned tilts can tell atoms, as a table: the Cramér-Rao bound by element and by choice of tilts."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

HEADING = f"{'z [Å]':>9} {'y [Å]':>9} {'x [Å]':>9}"
EXPLANATION = (
    "Cramér-Rao bound: poses, probes and the model are taken as known, and atoms as apart from each other.\n"
    "Errors go with one over the root of the dose."
)


@dataclass(frozen=True)
class TiltChoice:
    """Some of the planned tilts, with the dose of all."""

    name: str
    thetas: Sequence[float]
    """[degrees]."""
    errors: Sequence[float]
    """Median standard errors of z, y, x [Å]."""

    def needed(self, dose: float, precision: float) -> float:
        """Return the dose in sum that makes all three errors `precision` [Å] or better, from those at `dose`."""
        return dose * (max(self.errors) / precision) ** 2


def atom_table(
    errors: Sequence[Sequence[float]],
    symbols: Sequence[str],
    choices: Sequence[TiltChoice],
    *,
    fluence: float,
    precision: float,
) -> str:
    """Return the plan as text.

    Parameters
    ----------
    errors
        Of every atom: of z, y, x [Å], occupancy, B [Å²], with all tilts.
    symbols
        Element of every atom.
    choices
        The first is that of all tilts.
    fluence
        Of every tilt [e/Å²].
    precision
        [Å] that is wanted.
    """
    tilts = len(choices[0].thetas)
    lines = [
        f"{len(errors)} atoms, {tilts} tilts of {fluence:.4g} e/Å² each: standard errors (median)",
        f"{'':8} {'atoms':>6} {HEADING} {'occupancy':>10} {'B [Å²]':>9}",
    ]
    for name in dict.fromkeys(symbols):
        of_element = [row for row, symbol in zip(errors, symbols, strict=True) if symbol == name]
        z, y, x, occupancy, b_factor = map(median, zip(*of_element, strict=True))
        lines.append(f"{name:8} {len(of_element):6} {z:9.4f} {y:9.4f} {x:9.4f} {occupancy:10.4f} {b_factor:9.4f}")
    lines += [
        "",
        f"with the same dose in sum, and the dose in sum for {precision:g} Å along z, y and x:",
        f"{'':18} {'tilts':>6} {'range':>14} {HEADING} {'dose [e/Å²]':>12}",
    ]
    for choice in choices:
        between = f"{min(choice.thetas):.0f} to {max(choice.thetas):.0f}°"
        z, y, x = choice.errors
        needed = choice.needed(fluence * tilts, precision)
        lines.append(
            f"{choice.name:18} {len(choice.thetas):6} {between:>14} {z:9.4f} {y:9.4f} {x:9.4f} {needed:12.3g}"
        )
    return "\n".join([*lines, "", EXPLANATION])
