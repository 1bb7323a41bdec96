"""Cutting particles of three shapes out of a crystal, and filling sites that are only partly occupied.

The shapes are the unit balls of three norms, so one function cuts all: a sphere (2-norm), a cube (maximum norm) and
an octahedron (1-norm). `diameter` is the diameter of the sphere, the side of the cube, and the distance between
opposite vertices of the octahedron. Coordinates are ASE's, (x, y, z).
"""

from typing import Literal

import numpy as np
from ase import Atoms
from jaxtyping import Float64

Shape = Literal["sphere", "cube", "octahedron"]
_NORM_ORDERS: dict[str, float] = {"sphere": 2, "cube": np.inf, "octahedron": 1}
VOLUMES: dict[str, float] = {"sphere": np.pi / 6, "cube": 1.0, "octahedron": 1 / 6}
"""Volume of each shape in units of `diameter`³."""
MOST_ATOMS = 1e8
"""In the block that a particle is cut from: 10 GB."""
SMALLEST_CELL = 1.0
"""[Å³] No crystal has a smaller one; a structure without a cell has none."""


def radius(positions: Float64[np.ndarray, "atom 3"], shape: Shape) -> Float64[np.ndarray, " atom"]:
    """Return, for each position, half the diameter [Å] of the shape about 0 whose surface passes through it."""
    if shape not in _NORM_ORDERS:
        raise ValueError(f"shape is {shape!r}; expected one of {', '.join(_NORM_ORDERS)}")
    return np.linalg.norm(positions, ord=_NORM_ORDERS[shape], axis=1)


def cut_crystal(cell: Atoms, shape: Shape, diameter: float) -> Atoms:
    """Return the atoms of the infinite crystal of `cell` within a shape centred on a lattice point, which is at 0."""
    _check_diameter(diameter)
    if not abs(cell.cell.volume) > SMALLEST_CELL:
        raise ValueError(
            f"the unit cell has a volume of {cell.cell.volume:.3g} Å³; expected more than {SMALLEST_CELL} Å³, to be "
            "repeated in all directions. Use a crystal, with its cell in the file."
        )
    heights = 1 / np.linalg.norm(np.linalg.inv(cell.cell.array), axis=0)  # distances between faces of the cell
    reach = diameter / 2 * (np.sqrt(3) if shape == "cube" else 1)
    copies = np.ceil(reach / heights).astype(int) + 1
    if len(cell) * np.prod(2.0 * copies) > MOST_ATOMS:
        raise ValueError(
            f"a cut of {diameter} Å needs {np.prod(2.0 * copies):.3g} copies of the unit cell; expected at most "
            f"{MOST_ATOMS:.0e} atoms. Reduce diameter, or correct the cell."
        )
    block = cell.repeat(tuple(2 * copies))
    return cut_atoms(block, shape, diameter, copies @ cell.cell.array)


def cut_atoms(atoms: Atoms, shape: Shape, diameter: float, centre: np.ndarray) -> Atoms:
    """Return the atoms within a shape about `centre` (x, y, z) [Å], which becomes 0.

    Raises
    ------
    ValueError
        No atom is within the shape.
    """
    _check_diameter(diameter)
    particle = atoms.copy()
    particle.positions -= centre
    # The tolerance keeps the faces of a crystal complete in spite of rounding.
    particle = particle[radius(particle.positions, shape) <= diameter / 2 + 1e-6]
    if len(particle) == 0:
        raise ValueError(f"no atoms are left in a {shape} of {diameter} Å; expected at least one. Increase diameter.")
    return particle


def fill_sites(atoms: Atoms, seed: int) -> Atoms:
    """Return `atoms` with each partly occupied site of a CIF filled at random with one of its elements, or empty."""
    sites = atoms.info.get("occupancy")
    if not sites or all(sum(site.values()) == 1 and len(site) == 1 for site in sites.values()):
        return atoms
    generator = np.random.default_rng(seed)
    symbols = np.array(atoms.get_chemical_symbols(), dtype=object)
    kinds = atoms.arrays["spacegroup_kinds"]
    for kind, site in sites.items():
        members = np.flatnonzero(kinds == int(kind))
        shares = [*site.values(), max(0.0, 1 - sum(site.values()))]
        symbols[members] = generator.choice([*site, ""], size=len(members), p=np.array(shares) / sum(shares))
    filled = atoms[symbols != ""]
    filled.symbols = symbols[symbols != ""].tolist()
    return filled


def _check_diameter(diameter: float) -> None:
    if not diameter > 0:
        raise ValueError(f"diameter is {diameter}; expected a positive number of Å")
