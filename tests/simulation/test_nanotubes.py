import numpy as np
import pytest
from scipy.spatial import cKDTree

from dptt.simulation.nanotubes import tellurium, tellurium_on_nanotube


def parts(specimen):
    """Return the positions of tellurium and of carbon."""
    return (specimen.positions[specimen.atomic_numbers == number] for number in (52, 6))


def test_tellurium_atoms_have_two_neighbours_in_their_chain_and_the_next_chain_further_off():
    block = tellurium().repeat((5, 5, 5))
    middle = np.argmin(np.linalg.norm(block.positions - block.positions.mean(0), axis=1))
    distances = np.sort(np.linalg.norm(block.positions - block.positions[middle], axis=1))[1:8]
    np.testing.assert_allclose(distances[:2], 2.83, atol=0.02)  # bond along the chain, Cherin & Unger 1967
    np.testing.assert_allclose(distances[2:6], 3.49, atol=0.03)


@pytest.mark.parametrize("chirality", [(5, 5), (7, 0), (4, 2)])
def test_the_tube_lies_along_y_with_carbon_bonds_and_the_particle_touches_it_in_plus_x(chirality):
    specimen = tellurium_on_nanotube(11.0, tube_length=25.0, chirality=chirality, gap=3.2)
    particle, tube = parts(specimen)
    n, m = chirality
    radius = 1.42 * np.sqrt(3 * (n * n + n * m + m * m)) / (2 * np.pi)
    axis = tube[:, [0, 2]].mean(0)
    np.testing.assert_allclose(np.linalg.norm(tube[:, [0, 2]] - axis, axis=1), radius, atol=0.06)
    assert cKDTree(tube).query(tube, k=2)[0][:, 1].min() == pytest.approx(1.42, abs=0.05)
    assert cKDTree(tube).query(particle)[0].min() == pytest.approx(3.2)
    assert particle[:, 2].mean() > tube[:, 2].max()
    assert np.ptp(tube[:, 1]) == pytest.approx(25.0, abs=17.0 if m == 2 else 5.0)


def test_chains_run_along_the_tube_until_the_crystal_is_turned():
    along, _ = parts(tellurium_on_nanotube(16.0, tube_length=12.0))
    across, _ = parts(tellurium_on_nanotube(16.0, tube_length=12.0, crystal_orientation=(90.0, 0.0, 0.0)))
    c = 5.921
    for particle, axis in ((along, 1), (across, 0)):
        step = c * np.eye(3)[axis]
        inside = np.linalg.norm(particle - particle.mean(0) + step, axis=1) < 6.5
        assert inside.sum() > 5
        assert cKDTree(particle).query((particle + step)[inside])[0].max() < 1e-9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tube_length": 0.0}, "tube_length is 0.0"),
        ({"gap": -1.0}, "gap is -1.0"),
        ({"diameter": 0.0}, "diameter is 0.0"),
    ],
)
def test_what_cannot_be_built_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tellurium_on_nanotube(**({"diameter": 11.0, "tube_length": 12.0} | changes))
