"""Atoms fitted to the patterns: places, elements and error bars, and what they say of their surroundings."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dptt.analysis.neighbours import Neighbours, neighbours, pair_distances
from dptt.commands.atoms import atoms as atoms_command
from dptt.commands.export import export
from dptt.interface.pictures import Picture, Pictures
from dptt.interface.results import Origin, Result
from dptt.interface.settings import configuration, with_sections
from dptt.interface.tables import Table
from dptt.interface.volume import Reconstruction
from dptt.interface.workplace import working
from dptt.io.atoms import read_atoms
from dptt.report.figures.atoms import error_figure
from dptt.runtime.same_input import agreed_identity

KINDS = ("xyz", "cif", "pdb")


class FittedAtoms(Result):
    """Atoms fitted to the patterns; made by `dptt.atoms`.

    Attributes
    ----------
    positions, errors
        (atom, 3) as (z, y, x) [Å] from the rotation centre, and their standard errors.
    elements
        Chemical symbol of every atom, the likeliest.
    probabilities
        Of these elements (atom,); see `told`.
    told
        Whether the patterns tell the element (atom,).
    occupancies, b_factors
        (atom,); B in Å².
    figure_of_fit
        Loss over that of shot noise: 1 if the atoms explain all but the noise.
    """

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        stored = read_atoms(self.run / "atoms.h5")
        self.positions: NDArray[np.float64] = stored.positions
        self.errors: NDArray[np.float64] = stored.standard_errors[:, :3]
        self.elements: list[str] = stored.symbols
        self.probabilities: NDArray[np.float64] = stored.probabilities.max(axis=1)
        self.told: NDArray[np.bool_] = stored.told
        self.occupancies: NDArray[np.float64] = stored.occupancies
        self.b_factors: NDArray[np.float64] = stored.b_factors
        self.figure_of_fit = float(stored.attributes["figure_of_fit"])

    def __len__(self) -> int:
        return len(self.positions)

    def neighbours(self, cutoff: float) -> Neighbours:
        """Return bonds shorter than `cutoff` [Å] and the coordination of every atom, with errors."""
        return neighbours(self.positions, self.errors, cutoff)

    def pair_distances(self, radii: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean density of atoms [1/Å] at the distances `radii` [Å] from an atom, blurred by the errors."""
        return pair_distances(self.positions, self.errors, np.asarray(radii, dtype=float))

    def show(self) -> Pictures:
        """Show the standard errors of all coordinates."""
        return Pictures((Picture("errors", "Standard errors of the atoms", lambda: error_figure(self.errors)),))

    def save(self, target: str | Path, *, overwrite: bool = False) -> Path:
        """Save the atoms as `.xyz`, `.cif` or `.pdb`, relative to voxel n//2 of the volume, and return the path.

        Raises
        ------
        FileExistsError
            The target exists.
        ValueError
            It has another suffix.
        """
        target = Path(target)
        kind = target.suffix.removeprefix(".")
        if kind not in KINDS:
            raise ValueError(f"cannot save as {target.name}; expected a name that ends in .xyz, .cif or .pdb")
        return export(self.run, kind, output=target, overwrite=overwrite)[0]

    def _table(self) -> Table:
        names, counts = np.unique(self.elements, return_counts=True)
        content = ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True))
        errors = ", ".join(f"{a} {e:.4f}" for a, e in zip("zyx", np.median(self.errors, axis=0), strict=True))
        title = f"FittedAtoms: {content}; errors {errors} Å (median), figure of fit {self.figure_of_fit:.3f}"
        rows = [
            (
                element,
                *(f"{value:.4f} ± {error:.4f}" for value, error in zip(place, uncertain, strict=True)),
                f"{occupancy:.3f}",
                f"{b_factor:.2f}",
                f"{probability:.3f}",
            )
            for element, place, uncertain, occupancy, b_factor, probability in zip(
                self.elements,
                self.positions,
                self.errors,
                self.occupancies,
                self.b_factors,
                self.probabilities,
                strict=True,
            )
        ]
        return Table(title, ("element", "z [Å]", "y [Å]", "x [Å]", "occupancy", "B [Å²]", "probability"), rows)


def atoms(start: Reconstruction, **settings: Any) -> FittedAtoms:
    """Fit atoms to the patterns from those traced in the volume, in the folder of `start`, as `dptt atoms` does.

    Parameters
    ----------
    start
        The volume.
    settings
        Keys of the section `atoms`: ``elements=["Ni", "Pt"]`` is required.

    Raises
    ------
    ConfigError, ProblemsError
        Settings are wrong, or the volume holds no atoms.
    AtomFitError
        The patterns need none of the atoms.

    Examples
    --------
    >>> atoms = dptt.atoms(dptt.load("run"), elements=["Au"], iterations=1, rounds=0, voxel_size=0.4, draws=6)
    >>> atoms.positions.shape[1]  # (z, y, x) [Å]
    3
    """
    if not isinstance(start, Reconstruction):
        raise TypeError(f"dptt.atoms got {type(start).__name__}; expected a reconstruction, from dptt.reconstruct")
    tree = with_sections(start.origin.tree, {"atoms": settings})
    folder = start.origin.folder
    origin = Origin(configuration(tree, folder.path, "atoms"), tree, folder, start)
    with working(origin.config, "atoms") as (communicator, stop):
        atoms_command(origin.config, agreed_identity("atoms", origin.config, communicator), communicator, stop)
    return FittedAtoms(origin)
