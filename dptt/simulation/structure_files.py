"""Files of atomic structures, read by ASE, and what must be true of them before they are simulated."""

import warnings
from pathlib import Path

import ase.data
import ase.io
import numpy as np
from ase import Atoms
from ase.io.extxyz import key_val_str_to_dict

LARGEST_OCCUPANCY = 1.03
"""Of a site by all its elements together; files round those of five elements to 0.01."""

LONGEST_COUNT = 3
"""Digits of the number of columns of a property in an extended XYZ file."""


def read_atoms(path: str | Path) -> Atoms:
    """Return the only structure in a file, with occupancies that are numbers.

    Raises
    ------
    FileNotFoundError
        The file does not exist.
    ValueError
        ASE cannot read the file, it holds several structures, or species that are no elements, or occupancies that
        are unknown or impossible, or a cell that is not finite.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"structure file {path} does not exist. Check the path.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ASE warns of defaults that it takes, as of a cell without symmetry
            _refuse_endless_columns(Path(path))
            structures = ase.io.read(path, index=":")
    except KeyError as failure:
        raise ValueError(f"structure file {path} {_no_element(str(failure.args[0]))}") from failure
    except Exception as failure:  # ASE's readers raise whatever their parsers do
        problem = f"cannot be read: {type(failure).__name__}: {failure}"
        raise ValueError(f"structure file {path} {problem}") from failure
    atoms = structures if isinstance(structures, Atoms) else structures[0] if structures else Atoms()
    problems = [] if isinstance(structures, Atoms) else _number_problems(len(structures))
    problems += [*_species_problems(atoms), *_occupancy_problems(atoms)]
    if not np.isfinite(atoms.cell.array).all():
        problems.append("has a unit cell that is not finite. Correct its lattice.")
    if problems:
        raise ValueError(f"structure file {path} {' It '.join(problems)}")
    return atoms


def _refuse_endless_columns(path: Path) -> None:
    """Raise ValueError if an extended XYZ file announces so many columns that ASE would make them for ever."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if "Properties" not in line:
                continue
            columns = str(key_val_str_to_dict(line).get("Properties", "")).split(":")[2::3]
            if any(len(number.strip()) > LONGEST_COUNT for number in columns):
                raise ValueError(f"a property has {max(columns, key=len)[:20]} columns; expected fewer than 1000")


def _no_element(species: str) -> str:
    """Return what is wrong with a key that ASE does not know, nearly always a species."""
    if species.startswith("_"):
        return f"has no entry {species[:40]}. Write it again."
    number = int(species) if species.isascii() and species.isdigit() and len(species) < 4 else 0
    known = 0 < number < len(ase.data.chemical_symbols)
    symbol = f", here {ase.data.chemical_symbols[number]}" if known else " such as Au"
    return f"has the species {species[:40]!r}; expected the symbols of elements{symbol}. Correct the species."


def _number_problems(number: int) -> list[str]:
    if number == 1:
        return []
    return [f"holds {number} structures; expected one. Write the one to simulate into a file of its own."]


def _species_problems(atoms: Atoms) -> list[str]:
    dummies = int((atoms.numbers == 0).sum())
    return [f"has {dummies} dummy atoms (X); expected elements. Remove or replace them."] if dummies else []


def _occupancy_problems(atoms: Atoms) -> list[str]:
    """Return what is wrong with the occupancies; `.`, for which CIF defines 1, becomes 1."""
    problems = []
    for number, site in (atoms.info.get("occupancy") or {}).items():
        site |= {element: 1.0 for element, occupancy in site.items() if occupancy == "."}
        wrong = [e for e, o in site.items() if not isinstance(o, int | float) or not np.isfinite(o) or o < 0]
        if wrong:
            shown = ", ".join(f"{element}: {site[element]}" for element in wrong)
            problems.append(f"has an occupancy that is not a number from 0 to 1 ({shown}). Correct it.")
        elif sum(site.values()) > LARGEST_OCCUPANCY:
            shown = ", ".join(f"{element}: {occupancy:g}" for element, occupancy in site.items())
            problems.append(f"has site {number} occupied by more than one atom ({shown}). Correct the occupancies.")
        unknown = [element for element in site if element not in ase.data.atomic_numbers or element == "X"]
        if unknown:
            problems.append(f"has sites of {', '.join(unknown)}; expected the symbols of elements. Correct them.")
    return problems
