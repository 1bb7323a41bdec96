"""Atoms for ASE, OVITO, VESTA and ChimeraX: extended XYZ, CIF and PDB, with axes (x, y, z) [Å].

Positions are relative to voxel n//2 of the volume, as in `volume.mrc`. Atoms whose element is not known are X.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray

from dptt.io.atomic_write import write_beside

UNKNOWN = "X"


@dataclass(frozen=True)
class AtomTable:
    """Atoms of a result.

    Parameters
    ----------
    positions
        (atom, 3): (z, y, x) [Å] from voxel n//2.
    errors
        (atom, 3): standard errors of the positions [Å]; NaN where they are not known.
    elements
        Chemical symbol of every atom, or X.
    columns
        Name -> what else is known of every atom, (atom,), NaN where it is not. Traced atoms have `height` [V] and
        `significance`, fitted ones `occupancy`, `b_factor` [Å²], their errors, and `probability` of the element.
    """

    positions: NDArray[np.float64]
    errors: NDArray[np.float64]
    elements: Sequence[str]
    columns: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def occupancies(self) -> NDArray[np.float64]:
        """1 where it was not fitted."""
        return self.columns.get("occupancy", np.ones(len(self.elements)))

    @property
    def b_factors(self) -> NDArray[np.float64]:
        """[Å²]; 0 where it was not fitted."""
        return self.columns.get("b_factor", np.zeros(len(self.elements)))


def write_xyz(path: Path, atoms: AtomTable, *, comment: str = "", overwrite: bool = False) -> None:
    """Write an extended XYZ file: species, position, its error, and the other columns."""
    columns = ":".join(["species:S:1:pos:R:3:position_error:R:3", *(f"{name}:R:1" for name in atoms.columns)])
    units = 'pbc="F F F" length_unit="angstrom" height_unit="V"'
    lines = [str(len(atoms.elements)), f'Properties={columns} {units} comment="{_quotable(comment)}"']
    numbers = np.column_stack([atoms.positions[:, ::-1], atoms.errors[:, ::-1], *atoms.columns.values()])
    lines += [
        f"{element:2} " + " ".join(f"{value:.6f}" for value in row)
        for element, row in zip(atoms.elements, numbers, strict=True)
    ]
    with write_beside(path, overwrite) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_cif(path: Path, atoms: AtomTable, extent: tuple[float, float, float], *, overwrite: bool = False) -> None:
    """Write a CIF file with the atoms in a cell of the size of the volume, without symmetry.

    Parameters
    ----------
    extent
        Size of the volume (z, y, x) [Å]; the middle of the cell is the origin of the positions.
    """
    structure = gemmi.SmallStructure()
    structure.name = "dptt"
    lengths = extent[::-1]
    structure.cell = gemmi.UnitCell(*lengths, 90, 90, 90)
    structure.spacegroup_hm = "P 1"
    rows = zip(atoms.elements, atoms.positions, atoms.occupancies, atoms.b_factors, strict=True)
    for number, (element, position, occupancy, b_factor) in enumerate(rows, 1):
        site = gemmi.SmallStructure.Site()
        site.label = f"{element}{number}"
        site.type_symbol, site.element = element, gemmi.Element(element)
        site.fract = gemmi.Fractional(*(position[::-1] / lengths + 0.5))
        site.occ, site.u_iso = occupancy, b_factor / (8 * math.pi**2)
        structure.add_site(site)
    with write_beside(path, overwrite) as partial:
        document = gemmi.cif.Document()
        document.add_copied_block(structure.make_cif_block())
        # not by gemmi, which says nothing of a full disk
        partial.write_text(document.as_string(), encoding="utf-8")


def write_pdb(path: Path, atoms: AtomTable, *, overwrite: bool = False) -> None:
    """Write a PDB file with occupancies and B; it has three decimals [Å], and numbers atoms up to 99999."""
    residue = gemmi.Residue()
    residue.name, residue.seqid, residue.het_flag = "UNL", gemmi.SeqId("1"), "H"
    rows = zip(atoms.elements, atoms.positions, atoms.occupancies, atoms.b_factors, strict=True)
    for element, position, occupancy, b_factor in rows:
        atom = gemmi.Atom()
        atom.name, atom.element = element.upper(), gemmi.Element(element)
        atom.pos, atom.occ, atom.b_iso = gemmi.Position(*position[::-1]), occupancy, b_factor
        residue.add_atom(atom)
    chain, model, structure = gemmi.Chain("A"), gemmi.Model(1), gemmi.Structure()
    chain.add_residue(residue)
    model.add_chain(chain)
    structure.name = "dptt"
    structure.add_model(model)
    with write_beside(path, overwrite) as partial:  # not by gemmi, as above
        partial.write_text(structure.make_pdb_string(), encoding="utf-8")


def _quotable(text: str) -> str:
    return " ".join(text.replace('"', "'").split())
