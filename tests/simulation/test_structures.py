import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from scipy.spatial import cKDTree

from dptt.simulation.structures import amorphous_packing, core_shell, nanoparticle, random_alloy, read_structure


def nearest_distance(specimen):
    return cKDTree(specimen.positions).query(specimen.positions, k=2)[0][:, 1].min()


@pytest.mark.parametrize("name", ["c60.xyz", "c60.xyz.gz"])
def test_an_xyz_file_is_read_packed_or_not(tmp_path, name):
    fullerene = molecule("C60")
    ase.io.write(tmp_path / name, fullerene)
    specimen = read_structure(tmp_path / name, rms_displacement=0.05)
    np.testing.assert_allclose(np.linalg.norm(specimen.positions, axis=1), np.full(60, 3.55), atol=0.05)
    assert (specimen.rms_displacements == 0.05).all()


def test_a_crystal_file_is_repeated_as_asked_or_as_its_cut_needs(tmp_path):
    path = tmp_path / "gold.cif"
    ase.io.write(path, bulk("Au", cubic=True))
    assert len(read_structure(path, repeat=(2, 1, 3))) == 4 * 6
    cut = read_structure(path, shape="sphere", diameter=17.0)
    expected = nanoparticle("Au", 17.0)  # from the oblique primitive cell
    assert len(cut) == len(expected)
    assert cKDTree(cut.positions).query(expected.positions)[0].max() < 1e-3


def test_a_cut_of_separate_atoms_is_about_the_middle_of_their_box(tmp_path):
    chain = Atoms("Au21", positions=[[0, 0, 3.0 * i] for i in range(21)])
    ase.io.write(tmp_path / "chain.xyz", chain)
    specimen = read_structure(tmp_path / "chain.xyz", shape="cube", diameter=18.0)
    assert specimen.positions[:, 0].tolist() == pytest.approx(np.arange(-9, 10, 3.0).tolist())


def test_partly_occupied_sites_are_filled_at_random_in_proportion(tmp_path):
    half = bulk("Al", cubic=True)
    half.info["occupancy"] = {str(i): {"Al": 0.25} for i in range(4)}
    half.set_array("spacegroup_kinds", np.arange(4))
    ase.io.write(tmp_path / "half.cif", half)
    kept = read_structure(tmp_path / "half.cif", repeat=(10, 9, 8), seed=4)
    assert len(kept) == pytest.approx(0.25 * 4 * 720, rel=0.1)
    again = read_structure(tmp_path / "half.cif", repeat=(10, 9, 8), seed=4)
    np.testing.assert_array_equal(kept.positions, again.positions)


# Sizes in cells that put the faces midway between two lattice planes, so that counting is unbiased.
@pytest.mark.parametrize(
    ("shape", "cells", "volume"), [("sphere", 10.1, np.pi / 6), ("cube", 10.5, 1), ("octahedron", 11.0, 1 / 6)]
)
def test_a_particle_has_the_number_of_atoms_its_volume_holds(shape, cells, volume):
    constant = 4.08
    diameter = cells * constant
    specimen = nanoparticle("Au", diameter, shape=shape, lattice_constant=constant)
    assert len(specimen) == pytest.approx(4 / constant**3 * volume * diameter**3, rel=0.03)
    assert nearest_distance(specimen) == pytest.approx(constant / np.sqrt(2))
    assert np.abs(specimen.positions).max() <= diameter / 2


def test_a_hexagonal_crystal_fills_its_sphere():
    specimen = nanoparticle("Ti", 30.0)
    assert len(specimen) == pytest.approx(2 / bulk("Ti").get_volume() * np.pi / 6 * 30**3, rel=0.03)


def test_a_core_sits_in_its_shell_with_a_gap(tmp_path):
    ase.io.write(tmp_path / "core.cif", bulk("Pt", cubic=True))
    ase.io.write(tmp_path / "shell.cif", bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    specimen = core_shell(
        tmp_path / "core.cif", tmp_path / "shell.cif", core_diameter=12.0, shell_diameter=24.0, gap=2.0
    )
    core = specimen.atomic_numbers == 78
    assert np.abs(specimen.positions[core]).max() <= 6.0
    assert np.abs(specimen.positions[~core]).max() > 10.0
    assert cKDTree(specimen.positions[core]).query(specimen.positions[~core])[0].min() >= 2.0


def test_the_paper_s_platinum_in_alumina_can_be_built(shared_data, recwarn):
    models = shared_data / "atomic_models"
    specimen = core_shell(models / "Pt.cif", models / "gamma_Al2O3.cif", core_diameter=12.0, shell_diameter=24.0)
    symbols, counts = np.unique(specimen.atomic_numbers, return_counts=True)
    assert symbols.tolist() == [8, 13, 78]
    assert counts[1] / counts[0] == pytest.approx(2 / 3, abs=0.12)


def test_an_alloy_has_exactly_its_fractions_and_its_seed_decides_the_sites():
    fractions = {"Fe": 0.5, "Pt": 0.3, "Au": 0.2}
    alloy = random_alloy(fractions, 20.0, lattice_constant=3.9, seed=1)
    numbers, counts = np.unique(alloy.atomic_numbers, return_counts=True)
    assert numbers.tolist() == [26, 78, 79]
    assert np.abs(counts - len(alloy) * np.array([0.5, 0.3, 0.2])).max() < 1
    again = random_alloy(fractions, 20.0, lattice_constant=3.9, seed=1)
    other = random_alloy(fractions, 20.0, lattice_constant=3.9, seed=2)
    assert (alloy.atomic_numbers == again.atomic_numbers).all()
    assert (alloy.atomic_numbers != other.atomic_numbers).any()


def test_an_amorphous_packing_keeps_its_density_and_its_distance():
    specimen = amorphous_packing({"C": 3.0, "Si": 1.0}, 22.0, number_density=0.05, nearest_distance=1.9, seed=3)
    assert len(specimen) == round(0.05 * np.pi / 6 * 22**3)
    assert nearest_distance(specimen) >= 1.9
    assert np.mean(specimen.atomic_numbers == 6) == pytest.approx(0.75, abs=0.1)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nanoparticle("Xy", 10.0), "'Xy' is not a chemical element"),
        (lambda: nanoparticle("Au", 0.0), "diameter is 0.0; expected a positive number of Å"),
        (lambda: random_alloy({"Au": -1.0}, 9.0, lattice_constant=4.0, seed=0), "expected elements with shares"),
        (
            lambda: amorphous_packing({"C": 1.0}, 9.0, number_density=0.2, nearest_distance=2.0, seed=0),
            "fill 0.84 of space; random addition reaches 0.38",
        ),
        (lambda: core_shell("a", "b", core_diameter=9.0, shell_diameter=8.0), "does not fit in a shell of 8.0 Å"),
    ],
)
def test_what_cannot_be_built_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_missing_and_unreadable_files_and_empty_cuts_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.cif does not exist"):
        read_structure(tmp_path / "nowhere.cif")
    (tmp_path / "broken.xyz").write_text("three\natoms\n")
    with pytest.raises(ValueError, match="broken.xyz cannot be read"):
        read_structure(tmp_path / "broken.xyz")
    ase.io.write(tmp_path / "pair.xyz", Atoms("Au2", positions=[[0, 0, 0], [0, 0, 9]]))
    with pytest.raises(ValueError, match="no atoms are left in a sphere of 2.0 Å"):
        read_structure(tmp_path / "pair.xyz", shape="sphere", diameter=2.0)
    with pytest.raises(ValueError, match="expected both or neither"):
        read_structure(tmp_path / "pair.xyz", shape="sphere")


def test_an_unknown_shape_is_refused():
    with pytest.raises(Exception, match="blob"):  # by the type checker while tests run, else by a ValueError
        nanoparticle("Au", 10.0, shape="blob")
