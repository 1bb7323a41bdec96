"""Structure files of other programs: what is read, and what is refused with its name."""

import numpy as np
import pytest

from dptt.simulation.structures import core_shell, read_structure

HEADER = """data_{name}
_cell_length_a 4
_cell_length_b 5
_cell_length_c 6
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""


def cif(*rows, name="a"):
    return HEADER.format(name=name) + "\n".join(rows) + "\n"


def xyz(*species):
    return f"{len(species)}\ncomment\n" + "".join(f"{s} 0 0 {3 * i}\n" for i, s in enumerate(species))


def read(folder, name, text, **cut):
    (folder / name).write_text(text, encoding="utf-8")
    return read_structure(folder / name, **cut)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.xyz", xyz("X", "Au", "X"), r"2 dummy atoms \(X\)"),
        ("a.xyz", xyz("79", "78"), "the species '79'; expected the symbols of elements, here Au"),
        ("a.xyz", xyz("Qq", "Au"), "the species 'Qq'; expected the symbols of elements"),
        ("a.xyz", xyz("Au1", "Au"), "the species 'Au1'"),
        ("a.xyz", xyz("Au") + xyz("Pt", "Pt"), "holds 2 structures; expected one"),
        ("a.xyz", "", "cannot be read"),
        ("a.xyz", f"1\nProperties=species:S:1:pos:R:{'9' * 30}\nAu 0 0 0\n", "9 columns; expected fewer than 1000"),
        ("a.xyz", '1\nLattice="inf 0 0 0 4 0 0 0 4"\nAu 0 0 0\n', "a unit cell that is not finite"),
        ("a.cif", cif("A X 0 0 0 1", "B Pt .5 .5 .5 1"), "dummy atoms"),
        ("a.cif", cif("A Qq 0 0 0 1"), "the species 'Qq'"),
        ("a.cif", cif("A Au 0 0 0 ?", "B Pt .5 .5 .5 1"), r"not a number from 0 to 1 \(Au: \?\)"),
        ("a.cif", cif("A Au 0 0 0 -0.5"), r"not a number from 0 to 1 \(Au: -0.5\)"),
        ("a.cif", cif("A Au 0 0 0 1.5"), r"occupied by more than one atom \(Au: 1.5\)"),
        ("a.cif", cif("A Au 0 0 0 .8", "B Pt 0 0 0 .7"), r"occupied by more than one atom \(Au: 0.8, Pt: 0.7\)"),
        ("a.cif", cif("A Au 0 0 ? 1"), "cannot be read"),
        ("a.cif", cif("A Au 0 0 0 1") + cif("A Pt 0 0 0 1", name="b"), "holds 2 structures; expected one"),
    ],
)
def test_a_structure_that_cannot_be_meant_is_refused(tmp_path, name, text, said):
    with pytest.raises(ValueError, match=said) as failure:
        read(tmp_path, name, text)
    assert f"structure file {tmp_path / name}" in str(failure.value)


def test_an_occupancy_that_is_left_out_is_one(tmp_path):
    specimen = read(tmp_path, "a.cif", cif("A Au 0 0 0 .", "B Pt .5 .5 .5 1"), repeat=(3, 3, 3))
    assert np.bincount(specimen.atomic_numbers)[[78, 79]].tolist() == [27, 27]


def test_rounded_occupancies_of_a_full_site_fill_it(tmp_path):
    rows = [f"{e} {e} 0 0 0 0.34" for e in ("Cr", "Fe", "Ni")]
    assert len(read(tmp_path, "a.cif", cif(*rows), repeat=(5, 5, 5))) == 125


def test_a_block_without_atoms_is_no_structure(tmp_path):
    specimen = read(tmp_path, "a.cif", "data_global\n_publ_author x\n" + cif("A Al3+ 0 0 0 1", "B O2- .5 .5 .5 1"))
    assert sorted(specimen.atomic_numbers) == [8, 13]


def test_only_a_crystal_of_sensible_size_can_be_the_core_of_a_cut(tmp_path):
    (tmp_path / "a.xyz").write_text(xyz("Au", "Au"))
    with pytest.raises(ValueError, match="the unit cell has a volume of 0 Å³"):
        core_shell(tmp_path / "a.xyz", tmp_path / "a.xyz", core_diameter=5.0, shell_diameter=9.0)
    with pytest.raises(ValueError, match="copies of the unit cell; expected at most 1e"):
        read(tmp_path, "a.cif", cif("A Au 0 0 0 1"), shape="sphere", diameter=1e6)
