"""Specimens from structure files, and particles: one element, core-shell, random alloy, amorphous.

The faces of a cut follow the structure's own axes; the orientation is applied after the cut. Every function passes
`orientation`, `rms_displacement` and `smallest_distance` to `specimen_from_atoms`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ase.build
import ase.data
import numpy as np
from ase import Atoms
from scipy.spatial import cKDTree

from dptt.simulation.crystals import VOLUMES, Shape, cut_atoms, cut_crystal, fill_sites, radius
from dptt.simulation.specimen import Specimen, specimen_from_atoms
from dptt.simulation.structure_files import read_atoms

_JAMMING_FRACTION = 0.38
"""Volume fraction at which random sequential addition of hard spheres saturates [Zhang & Torquato 2013]."""

_ROUNDS, _TRIALS = 1000, 1000
"""How often random positions are tried, and how many at once."""


def read_structure(
    path: str | Path,
    *,
    repeat: tuple[int, int, int] | None = None,
    shape: Shape | None = None,
    diameter: float | None = None,
    seed: int = 0,
    **placing: Any,
) -> Specimen:
    """Return the structure of any file that ASE reads (.xyz, .xyz.gz, .cif, ...).

    Parameters
    ----------
    path
        The file. Partly occupied sites of a CIF are filled at random, with `seed`.
    repeat
        Copies of the cell along (a, b, c). If None, a crystal is repeated as often as the cut needs; without a cut it
        is not repeated.
    shape, diameter
        Shape and size [Å] of a cut about the centre; set both or neither.
    **placing
        `orientation`, `rms_displacement`, `smallest_distance` of `specimen_from_atoms`.

    Raises
    ------
    FileNotFoundError
        The file does not exist.
    ValueError
        ASE cannot read the file, or no atom is left after the cut.
    """
    if (shape is None) != (diameter is None):
        raise ValueError(f"shape is {shape} and diameter is {diameter}; expected both or neither")
    atoms = read_atoms(path)
    if shape is None or diameter is None:
        return specimen_from_atoms(fill_sites(atoms.repeat(repeat or (1, 1, 1)), seed), **placing)
    if repeat is None and atoms.pbc.all():
        return specimen_from_atoms(fill_sites(cut_crystal(atoms, shape, diameter), seed), **placing)
    block = fill_sites(atoms.repeat(repeat or (1, 1, 1)), seed)
    low, high = block.positions.min(0), block.positions.max(0)
    return specimen_from_atoms(cut_atoms(block, shape, diameter, (low + high) / 2), **placing)


def nanoparticle(
    element: str,
    diameter: float,
    *,
    shape: Shape = "sphere",
    lattice_constant: float | None = None,
    **placing: Any,
) -> Specimen:
    """Return a particle of an elemental crystal with an atom at its centre.

    Parameters
    ----------
    element
        Chemical symbol.
    diameter, shape
        Size [Å] and shape of the particle.
    lattice_constant
        [Å]; None for ASE's value.
    **placing
        As in `read_structure`.
    """
    return specimen_from_atoms(cut_crystal(_bulk(element, lattice_constant), shape, diameter), **placing)


def core_shell(
    core: str | Path,
    shell: str | Path,
    *,
    core_diameter: float,
    shell_diameter: float,
    shape: Shape = "cube",
    gap: float = 1.5,
    seed: int = 0,
    **placing: Any,
) -> Specimen:
    """Return a core of one crystal in a concentric shell of another, like Pt in gamma-Al2O3 of [P] fig. 2.

    Parameters
    ----------
    core, shell
        Files of the two unit cells.
    core_diameter, shell_diameter
        Outer sizes of core and shell [Å].
    gap
        Atoms of the shell that are closer than this to an atom of the core [Å] are left out.
    """
    if not core_diameter < shell_diameter:
        raise ValueError(
            f"a core of {core_diameter} Å does not fit in a shell of {shell_diameter} Å. Make core_diameter smaller "
            "than shell_diameter."
        )
    core_atoms = fill_sites(cut_crystal(read_atoms(core), shape, core_diameter), seed)
    shell_atoms = fill_sites(cut_crystal(read_atoms(shell), shape, shell_diameter), seed)
    if len(core_atoms) == 0:
        raise ValueError(f"no atom of {core} is left in a core of {core_diameter} Å. Increase core_diameter.")
    distance, _ = cKDTree(core_atoms.positions).query(shell_atoms.positions)
    in_core = radius(shell_atoms.positions, shape) <= core_diameter / 2
    return specimen_from_atoms(core_atoms + shell_atoms[(distance >= gap) & ~in_core], **placing)


def random_alloy(
    fractions: Mapping[str, float],
    diameter: float,
    *,
    lattice_constant: float,
    seed: int,
    shape: Shape = "sphere",
    static_displacement: float = 0.0,
    **placing: Any,
) -> Specimen:
    """Return an fcc particle whose sites hold several elements at random, in exact proportions.

    Parameters
    ----------
    fractions
        Element -> fraction of the atoms; scaled to a sum of one, rounded to whole atoms by largest remainder.
    lattice_constant
        Of the cubic cell [Å].
    static_displacement
        Lattice distortion: root mean square displacement of the sites along one axis [Å].
    """
    if not fractions or min(fractions.values()) < 0 or sum(fractions.values()) <= 0:
        raise ValueError(f"fractions are {dict(fractions)}; expected elements with shares of zero or more")
    for element in fractions:
        _check_element(element)
    generator = np.random.default_rng(seed)
    atoms = cut_crystal(ase.build.bulk("Au", "fcc", a=lattice_constant, cubic=True), shape, diameter)
    shares = np.array(list(fractions.values())) / sum(fractions.values()) * len(atoms)
    counts = np.floor(shares).astype(int)
    counts[np.argsort(counts - shares, kind="stable")[: len(atoms) - counts.sum()]] += 1
    atoms.symbols = generator.permutation(np.repeat(list(fractions), counts))
    atoms.positions += static_displacement * generator.normal(size=atoms.positions.shape)
    return specimen_from_atoms(atoms, **placing)


def amorphous_packing(
    fractions: Mapping[str, float],
    diameter: float,
    *,
    number_density: float,
    nearest_distance: float,
    seed: int,
    shape: Shape = "sphere",
    **placing: Any,
) -> Specimen:
    """Return atoms placed at random, one after another, none closer than `nearest_distance` [Å] to another.

    Parameters
    ----------
    fractions
        Element -> fraction of the atoms; the element of each atom is drawn at random.
    number_density
        Atoms per Å³.

    Raises
    ------
    ValueError
        The packing is denser than random sequential addition can reach.
    """
    filling = number_density * np.pi / 6 * nearest_distance**3
    if not 0 < filling < _JAMMING_FRACTION:
        raise ValueError(
            f"{number_density} atoms per Å³ at least {nearest_distance} Å apart fill {filling:.2f} of space; random "
            f"addition reaches {_JAMMING_FRACTION}. Lower number_density or nearest_distance."
        )
    generator = np.random.default_rng(seed)
    positions = _packing(
        round(number_density * (diameter**3 * VOLUMES[shape])),
        nearest_distance,
        shape=shape,
        diameter=diameter,
        generator=generator,
    )
    for element in fractions:
        _check_element(element)
    weights = np.array(list(fractions.values())) / sum(fractions.values())
    symbols = generator.choice(list(fractions), size=len(positions), p=weights)
    return specimen_from_atoms(Atoms(symbols, positions=positions), **placing)


def _packing(
    number: int, nearest_distance: float, *, shape: Shape, diameter: float, generator: np.random.Generator
) -> np.ndarray:
    """Return `number` random positions (atom, 3) in the shape, none closer than `nearest_distance` to another [Å]."""
    if not 0 < number <= _ROUNDS * _TRIALS:
        raise ValueError(
            f"a {shape} of {diameter} Å would have {number:.4g} atoms of this density; expected 1 to "
            f"{_ROUNDS * _TRIALS:.0e}. Correct diameter or number_density."
        )
    placed = np.empty((0, 3))
    for _ in range(_ROUNDS):
        trial = generator.uniform(-diameter / 2, diameter / 2, size=(_TRIALS, 3))
        trial = trial[radius(trial, shape) <= diameter / 2]
        if len(placed):
            trial = trial[cKDTree(placed).query(trial)[0] >= nearest_distance]
        rejected: set[int] = set()  # of two trials too close to each other, the later, unless the earlier is rejected
        for first, second in sorted(cKDTree(trial).query_pairs(nearest_distance)) if len(trial) else ():
            if first not in rejected:
                rejected.add(second)
        placed = np.concatenate([placed, np.delete(trial, sorted(rejected), axis=0)])
        if len(placed) >= number:
            return placed[:number]
    raise ValueError(
        f"only {len(placed)} of {number} atoms could be placed {nearest_distance} Å apart in a {shape} of "
        f"{diameter} Å. Lower number_density or nearest_distance."
    )


def _bulk(element: str, lattice_constant: float | None) -> Atoms:
    _check_element(element)
    try:
        return ase.build.bulk(element, a=lattice_constant)
    except (ValueError, RuntimeError, NotImplementedError) as failure:
        raise ValueError(
            f"ASE has no crystal structure of {element} ({failure}). Use a structure file instead."
        ) from failure


def _check_element(element: str) -> None:
    if element not in ase.data.atomic_numbers or element == "X":
        raise ValueError(f"{element!r} is not a chemical element; expected a symbol such as Au")
