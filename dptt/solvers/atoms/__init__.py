"""Atoms fitted to the diffraction patterns themselves: coordinates, elements and error bars ([P]'s outlook)."""

from dptt.solvers.atoms.fit import FittedAtoms, fit_atoms
from dptt.solvers.atoms.objective import AtomFitError
from dptt.solvers.atoms.problem import AtomModel, AtomProblem
from dptt.solvers.atoms.settings import AtomFitSettings

__all__ = ["AtomFitError", "AtomFitSettings", "AtomModel", "AtomProblem", "FittedAtoms", "fit_atoms"]
