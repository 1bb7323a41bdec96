import numpy as np
import pytest
from ase import Atoms
from scipy.spatial.transform import Rotation

from dptt.simulation.specimen import Specimen, specimen_from_atoms


def test_axes_of_ase_are_turned_round_and_the_bounding_box_is_centred():
    specimen = specimen_from_atoms(Atoms("HHe", positions=[[1, 2, 3], [5, 8, 13]]))
    np.testing.assert_allclose(specimen.positions, [[-5, -3, -2], [5, 3, 2]])
    assert specimen.extent == pytest.approx((10, 6, 4))
    assert specimen.atomic_numbers.tolist() == [1, 2]


def test_the_centre_is_that_of_the_box_and_not_of_the_atoms():
    specimen = specimen_from_atoms(Atoms("H3", positions=[[0, 0, 0], [0, 0, 1], [0, 0, 10]]))
    assert specimen.positions[:, 0].tolist() == [-5, -4, 5]


def test_a_tilt_is_the_rotation_of_scipy_followed_by_the_translation():
    specimen = specimen_from_atoms(Atoms("H3", positions=np.random.default_rng(0).uniform(-9, 9, (3, 3))))
    angles, tau = (3.0, -50.0, 7.0), (1.5, -2.5)
    expected = Rotation.from_euler("xyz", angles, degrees=True).apply(specimen.positions[:, ::-1])[:, ::-1]
    np.testing.assert_allclose(specimen.tilted(angles, tau).positions, expected + [0, *tau], atol=1e-12)


def test_a_positive_tilt_moves_the_positive_x_side_upstream():
    specimen = Specimen(np.array([[0.0, 0.0, 5.0]]), np.array([79]), np.zeros(1))
    z, y, x = specimen.tilted((0.0, 30.0, 0.0), (0.0, 0.0)).positions[0]
    assert (z, y, x) == pytest.approx((-2.5, 0, 5 * np.cos(np.pi / 6)))


def test_the_orientation_is_a_tilt_applied_once():
    atoms = Atoms("HHe", positions=[[-1, -2, -3], [1, 2, 3]])
    plain, oriented = specimen_from_atoms(atoms), specimen_from_atoms(atoms, orientation=(20.0, 30.0, 40.0))
    np.testing.assert_allclose(oriented.positions, plain.tilted((20.0, 30.0, 40.0), (0.0, 0.0)).positions, atol=1e-12)


def test_frozen_phonons_displace_each_element_by_its_own_amount():
    atoms = Atoms("Al4000Au4000", positions=np.arange(24000).reshape(-1, 3) * 2.0)
    specimen = specimen_from_atoms(atoms, rms_displacement={"Al": 0.1})
    moved = specimen.vibrating(np.random.default_rng(0))
    displacement = moved.positions - specimen.positions
    assert displacement[:4000].std(axis=0) == pytest.approx(np.full(3, 0.1), rel=0.05)
    assert not displacement[4000:].any()
    assert not moved.rms_displacements.any()


@pytest.mark.parametrize(
    ("atoms", "options", "message"),
    [
        (Atoms(), {}, "has no atoms"),
        (Atoms("HAu", positions=[[0, 0, 0], [0, 0, 0.3]]), {}, r"atoms 0 and 1 \(Z = 1 and 79\), are 0.300 Å apart"),
        (Atoms("H", positions=[[np.nan, 0, 0]]), {}, "not finite"),
        (Atoms("H"), {"rms_displacement": -1.0}, "rms_displacement of H is -1.0"),
        (Atoms("H"), {"rms_displacement": {"Au": 0.1}}, "names Au; expected elements of the specimen: H"),
    ],
)
def test_what_cannot_be_a_specimen_is_refused(atoms, options, message):
    with pytest.raises(ValueError, match=message):
        specimen_from_atoms(atoms, **options)
