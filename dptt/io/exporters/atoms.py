"""Traced atoms for ASE, OVITO and VESTA: extended XYZ and CIF, with axes (x, y, z) [Å].

Positions are relative to voxel n//2 of the volume, as in `volume.mrc`. Atoms whose element is not known are X.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
    heights
        (atom,): peak above the local background [V].
    significance
        (atom,): height over the noise; NaN where it is not known.
    elements
        Chemical symbol of every atom, or X.
    """

    positions: NDArray[np.float64]
    errors: NDArray[np.float64]
    heights: NDArray[np.float64]
    significance: NDArray[np.float64]
    elements: Sequence[str]


def write_xyz(path: Path, atoms: AtomTable, *, comment: str = "", overwrite: bool = False) -> None:
    """Write an extended XYZ file: species, position, its error, height, significance."""
    columns = "species:S:1:pos:R:3:position_error:R:3:height:R:1:significance:R:1"
    units = 'pbc="F F F" length_unit="angstrom" height_unit="V"'
    lines = [str(len(atoms.elements)), f'Properties={columns} {units} comment="{_quotable(comment)}"']
    numbers = np.column_stack(
        [atoms.positions[:, ::-1], atoms.errors[:, ::-1], atoms.heights[:, None], atoms.significance[:, None]]
    )
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
    for number, (element, position) in enumerate(zip(atoms.elements, atoms.positions, strict=True), 1):
        site = gemmi.SmallStructure.Site()
        site.label = f"{element}{number}"
        site.type_symbol, site.element = element, gemmi.Element(element)
        site.fract = gemmi.Fractional(*(position[::-1] / lengths + 0.5))
        site.occ = 1.0
        structure.add_site(site)
    with write_beside(path, overwrite) as partial:
        document = gemmi.cif.Document()
        document.add_copied_block(structure.make_cif_block())
        # not by gemmi, which says nothing of a full disk
        partial.write_text(document.as_string(), encoding="utf-8")


def _quotable(text: str) -> str:
    return " ".join(text.replace('"', "'").split())
