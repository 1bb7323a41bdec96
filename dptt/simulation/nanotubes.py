"""A tellurium particle beside a carbon nanotube: the specimen of [P] fig. 3.

Tellurium is trigonal, with helical chains along c [Cherin & Unger, Acta Cryst. 23 (1967) 670]. The tube lies along
the tilt axis y, the particle beside it in +x. The chains are parallel to the tube unless `crystal_orientation`
rotates them.
"""

from typing import Any

import ase.build
import numpy as np
from ase import Atoms
from ase.spacegroup import crystal
from jaxtyping import Float64
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from dptt.simulation.checks import require_at_most
from dptt.simulation.crystals import MOST_ATOMS, Shape, cut_crystal
from dptt.simulation.specimen import Specimen, specimen_from_atoms

LATTICE_CONSTANTS = (4.456, 5.921)
"""a and c of tellurium [Å]."""
CHAIN_RADIUS = 0.2636
"""Distance u of an atom from the axis of its chain, in units of a."""
P3_1_21 = 152
"""Space group number."""
CARBON_BOND = 1.42
"""Length of the C-C bond [Å]."""
LARGEST_GAP = 100.0
"""[Å] Wider than any contact, and few enough pairs of atoms."""
MOST_CELLS = 1000
"""A tube of 80 nm."""

_Z_TO_Y = Rotation.from_euler("x", -90, degrees=True)


def tellurium_on_nanotube(
    diameter: float,
    *,
    shape: Shape = "sphere",
    crystal_orientation: tuple[float, float, float] = (0.0, 0.0, 0.0),
    chirality: tuple[int, int] = (5, 5),
    tube_length: float,
    gap: float = 3.0,
    **placing: Any,
) -> Specimen:
    """Return a Te particle that touches a carbon nanotube.

    Parameters
    ----------
    diameter, shape
        Size [Å] and shape of the particle; the axes of the shape are a, b* and c of the crystal.
    crystal_orientation
        Euler angles (phi, theta, psi) [deg] that rotate the particle alone, from the orientation with c along y.
    chirality
        (n, m) of the tube.
    tube_length
        Length of the tube [Å], rounded to whole periods, at least one.
    gap
        Distance between the nearest tellurium and carbon atoms [Å].
    **placing
        `orientation`, `rms_displacement`, `smallest_distance` of `specimen_from_atoms`, for particle and tube.
    """
    if not tube_length > 0:
        raise ValueError(f"tube_length is {tube_length}; expected a positive number of Å")
    particle = cut_crystal(tellurium(), shape, diameter)
    rotation = Rotation.from_euler("xyz", crystal_orientation, degrees=True) * _Z_TO_Y
    particle.positions = rotation.apply(particle.positions)
    tube = _nanotube(chirality, tube_length)
    particle.positions[:, 0] += _shift_to_contact(particle.positions, tube.positions, gap)
    return specimen_from_atoms(particle + tube, **placing)


def tellurium() -> Atoms:
    """Return the unit cell of tellurium: three atoms of one chain, c along z."""
    a, c = LATTICE_CONSTANTS
    return crystal("Te", [(CHAIN_RADIUS, 0, 1 / 3)], spacegroup=P3_1_21, cellpar=[a, a, c, 90, 90, 120])


def _nanotube(chirality: tuple[int, int], length: float) -> Atoms:
    """Return a tube along y, centred at 0."""
    require_at_most("cells around the nanotube", sum(chirality), MOST_CELLS, "Reduce chirality.")
    period = ase.build.nanotube(*chirality, length=1, bond=CARBON_BOND)
    copies = max(1, round(length / period.cell.lengths()[2]))
    require_at_most("atoms in the nanotube", copies * len(period), MOST_ATOMS, "Reduce tube_length, in Å.")
    tube = ase.build.nanotube(*chirality, length=copies, bond=CARBON_BOND)
    centred = tube.positions - (tube.positions.min(0) + tube.positions.max(0)) / 2
    return Atoms(tube.symbols, positions=_Z_TO_Y.apply(centred))


def _shift_to_contact(
    moving: Float64[np.ndarray, "atom 3"], fixed: Float64[np.ndarray, "other 3"], gap: float
) -> float:
    """Return the shift along x that brings `moving` atoms, coming from +x, within `gap` of the fixed ones.

    Two atoms that are rho < gap apart in y and z touch when their difference in x is sqrt(gap² - rho²).
    """
    if not 0 < gap <= LARGEST_GAP:
        raise ValueError(f"gap is {gap}; expected a positive number of Å, at most {LARGEST_GAP:g}")
    pairs = cKDTree(moving[:, 1:]).sparse_distance_matrix(cKDTree(fixed[:, 1:]), gap, output_type="coo_matrix")
    if pairs.nnz == 0:
        raise ValueError("the particle passes the nanotube without touching it. Increase tube_length.")
    along = np.sqrt(gap**2 - pairs.data**2)
    return float((fixed[pairs.col, 0] - moving[pairs.row, 0] + along).max())
