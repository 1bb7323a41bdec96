"""Atoms fitted to the diffraction patterns themselves: coordinates, elements and error bars ([P]'s outlook)."""

from dptt.solvers.atoms.bound import information_by_tilt
from dptt.solvers.atoms.fit import fit_atoms
from dptt.solvers.atoms.information import standard_errors
from dptt.solvers.atoms.moves import FittedAtoms
from dptt.solvers.atoms.objective import AtomFitError
from dptt.solvers.atoms.problem import AtomModel, AtomProblem
from dptt.solvers.atoms.progress import Progress, Stage
from dptt.solvers.atoms.scans import MORE_DOUBT, SCANS_DOUBT
from dptt.solvers.atoms.settings import AtomFitSettings

__all__ = [
    "MORE_DOUBT",
    "SCANS_DOUBT",
    "AtomFitError",
    "AtomFitSettings",
    "AtomModel",
    "AtomProblem",
    "FittedAtoms",
    "Progress",
    "Stage",
    "fit_atoms",
    "information_by_tilt",
    "standard_errors",
]
