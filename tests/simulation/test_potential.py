import numpy as np
import pytest
import torch
from ase import Atoms

from dptt.physics.rotation import rotate_volume, sampling_map
from dptt.simulation.potential import enclosing_slab, project_slices, sample_volume
from dptt.simulation.scattering import gaussian_coefficients, integrated_potential, scattering_factor
from dptt.simulation.specimen import Specimen

NUMBERS = np.array([79, 78, 6, 8, 13, 29] * 2)
SHAPE, EXTENT = (90, 121), (15.0, 18.0)  # (y, x)
SAMPLING = (EXTENT[0] / SHAPE[0], EXTENT[1] / SHAPE[1])


@pytest.fixture
def specimen() -> Specimen:
    positions = np.random.default_rng(1).uniform(-4, 4, (12, 3))
    return Specimen(positions, NUMBERS, np.linspace(0, 0.15, 12))


@pytest.fixture
def at_rest(specimen) -> Specimen:
    return Specimen(specimen.positions, specimen.atomic_numbers, np.zeros(12))


def slices_of(specimen, integration="projected", **changes):
    grid = {"shape": SHAPE, "sampling": SAMPLING, "num_slices": 5, "slice_thickness": 2.0, "entrance": -5.0}
    return project_slices(specimen, **{**grid, **changes}, integration=integration, dtype=torch.float64)


def relative(ours, theirs):
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def total(specimen):
    return sum(integrated_potential(int(z)) for z in specimen.atomic_numbers)


def within(images, fraction):
    """Low-pass to a fraction of the smaller Nyquist frequency."""
    ky, kx = np.fft.fftfreq(SHAPE[0], SAMPLING[0])[:, None], np.fft.fftfreq(SHAPE[1], SAMPLING[1])
    mask = np.hypot(ky, kx) < fraction * 0.5 / max(SAMPLING)
    return np.fft.ifft2(np.fft.fft2(images) * mask).real


def test_scattering_factors_are_the_sums_of_the_table():
    amplitudes, widths = gaussian_coefficients(79)
    k = torch.tensor([[0.0, 1.3]], dtype=torch.float64)
    by_hand = sum(a * np.exp(-b * (1.3 / 2) ** 2) for a, b in zip(amplitudes, widths, strict=True))
    assert scattering_factor(79, k)[0, 1].item() == pytest.approx(by_hand)
    assert scattering_factor(79, k)[0, 0].item() == pytest.approx(sum(amplitudes))


@pytest.mark.parametrize("number", [0, 99, 200])
def test_elements_without_scattering_factors_are_refused(number):
    with pytest.raises(ValueError, match=f"atomic number {number} has no electron scattering factors"):
        gaussian_coefficients(number)


@pytest.mark.parametrize("integration", ["projected", "linear", "finite"])
def test_the_total_of_all_slices_is_exact(specimen, integration):
    slices = slices_of(specimen, integration, entrance=-3.0, slice_thickness=1.0)  # even of atoms outside the slices
    assert slices.sum().item() * np.prod(SAMPLING) == pytest.approx(total(specimen), rel=1e-10)


def test_the_total_of_all_voxels_is_exact(specimen):
    volume = sample_volume(specimen, (61, 54, 70), (0.5, 0.55, 0.4), dtype=torch.float64)
    assert volume.sum().item() * 0.5 * 0.55 * 0.4 == pytest.approx(total(specimen), rel=1e-8)
    assert volume.min() >= 0


def test_a_projected_atom_is_the_fourier_sum_of_its_scattering_factor():
    atom = Specimen(np.array([[0.3, 1.23, -2.34]]), np.array([29]), np.array([0.1]))
    ky, kx = np.fft.fftfreq(SHAPE[0], SAMPLING[0])[:, None], np.fft.fftfreq(SHAPE[1], SAMPLING[1])
    k = torch.from_numpy(np.hypot(ky, kx))
    factor = 47.87801 * scattering_factor(29, k).numpy() * np.exp(-2 * np.pi**2 * 0.1**2 * k.numpy() ** 2)
    y, x = 1.23 + SHAPE[0] // 2 * SAMPLING[0], -2.34 + SHAPE[1] // 2 * SAMPLING[1]
    expected = np.fft.ifft2(factor * np.exp(-2j * np.pi * (ky * y + kx * x))).real / np.prod(SAMPLING)
    ours = slices_of(atom, num_slices=1).numpy()[0]
    assert relative(within(ours, 0.99), within(expected, 0.99)) < 1e-10


@pytest.mark.parametrize(
    ("parametrization", "bound"),
    [pytest.param("peng", 0.005, marks=pytest.mark.thorough), ("lobato", 0.008), ("kirkland", 0.005)],
)
def test_projected_potentials_agree_with_abtem(at_rest, parametrization, bound):
    abtem = pytest.importorskip("abtem", reason="abTEM is not installed: no independent program to compare with")
    corner = [SHAPE[1] // 2 * SAMPLING[1], SHAPE[0] // 2 * SAMPLING[0], 5.0]
    positions = at_rest.positions[:, ::-1] + corner
    atoms = Atoms(numbers=NUMBERS, positions=positions, cell=[*EXTENT[::-1], 10.0], pbc=True)
    finer = 6  # abTEM splits an atom linearly over four pixels, so its pixels must be small
    theirs = abtem.Potential(
        atoms,
        gpts=(finer * SHAPE[1], finer * SHAPE[0]),
        slice_thickness=2.0,
        parametrization=parametrization,
        projection="infinite",
        device="cpu",
    )
    spectrum = np.fft.fftshift(np.fft.fft2(theirs.build(lazy=False).array.transpose(0, 2, 1)), axes=(1, 2))
    first = [finer * n // 2 - n // 2 for n in SHAPE]
    spectrum = spectrum[:, first[0] : first[0] + SHAPE[0], first[1] : first[1] + SHAPE[1]]
    theirs = np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(1, 2))).real / finer**2
    assert relative(within(slices_of(at_rest).numpy(), 2 / 3), within(theirs, 2 / 3)) < bound


def test_slices_add_up_to_the_projection_however_the_atoms_are_shared_out(specimen):
    whole = slices_of(specimen, num_slices=1)
    for integration in ("projected", "linear", "finite"):
        np.testing.assert_allclose(slices_of(specimen, integration).sum(0), whole[0], atol=1e-8 * whole.max())


def test_linear_integration_keeps_the_mean_depth_of_an_atom_between_the_middles_of_slices():
    for depth in (-3.9, -0.6, 0.0, 1.7, 4.0):
        atom = Specimen(np.array([[depth, 0.0, 0.0]]), np.array([29]), np.array([0.1]))
        shares = slices_of(atom, "linear").sum((1, 2)).numpy() / slices_of(atom, num_slices=1).sum().item()
        assert shares.sum() == pytest.approx(1)
        assert shares @ [-4, -2, 0, 2, 4] == pytest.approx(depth), "middles of slices of 2 Å"
        assert np.count_nonzero(shares > 1e-12) <= 2


def test_an_atom_on_the_face_of_two_slices_is_shared_by_halves_if_finite():
    atom = Specimen(np.array([[-1.0, 0.0, 0.0]]), np.array([79]), np.zeros(1))
    finite, projected = slices_of(atom, "finite").sum((1, 2)), slices_of(atom).sum((1, 2))
    assert finite[1] == pytest.approx(finite[2])
    assert projected[1] == pytest.approx(0, abs=1e-9 * projected[2].item())


def test_a_periodic_cell_repeats(specimen):
    shifted = Specimen(specimen.positions + [0.0, *EXTENT], specimen.atomic_numbers, specimen.rms_displacements)
    np.testing.assert_allclose(slices_of(shifted), slices_of(specimen), atol=1e-8)


def test_voxels_hold_the_average_of_the_potential():
    atom = Specimen(np.array([[0.1, -0.2, 0.3]]), np.array([6]), np.array([0.1]))
    coarse = sample_volume(atom, (9, 7, 11), (0.6, 0.5, 0.4), dtype=torch.float64)
    fine = sample_volume(atom, (27, 35, 55), (0.2, 0.1, 0.08), dtype=torch.float64)
    blocks = fine.reshape(9, 3, 7, 5, 11, 5).mean((1, 3, 5))
    np.testing.assert_allclose(coarse, blocks, rtol=1e-9)


def test_the_volume_projects_to_the_slices_averaged_over_pixels(specimen):
    voxel = (0.4, SAMPLING[0], SAMPLING[1])
    volume = sample_volume(specimen, (60, *SHAPE), voxel, dtype=torch.float64)
    ky, kx = np.fft.fftfreq(SHAPE[0])[:, None], np.fft.fftfreq(SHAPE[1])
    image = slices_of(specimen, num_slices=1).numpy()[0]
    averaged = np.fft.ifft2(np.fft.fft2(image) * np.sinc(ky) * np.sinc(kx)).real
    assert relative(within(volume.numpy().sum(0) * 0.4, 0.5), within(averaged, 0.5)) < 0.01


def test_the_volume_turned_by_the_model_s_rotation_is_the_volume_of_the_turned_specimen():
    positions = np.random.default_rng(5).uniform(-3, 3, (6, 3))
    soft = Specimen(positions, np.array([6, 8, 13, 14, 6, 8]), np.full(6, 0.3))
    shape, voxel, angles, tau = (81, 75, 90), (0.2, 0.22, 0.2), (4.0, 35.0, -6.0), (0.31, -0.47)
    map_ = sampling_map(torch.tensor(angles).double(), torch.tensor(tau).double(), voxel)
    turned = rotate_volume(sample_volume(soft, shape, voxel, dtype=torch.float64), map_).sum(0).numpy()
    true = sample_volume(soft.tilted(angles, tau), shape, voxel, dtype=torch.float64).sum(0).numpy()
    assert relative(turned, true) < 0.05
    wrong = sample_volume(soft.tilted((4.0, -35.0, -6.0), tau), shape, voxel, dtype=torch.float64).sum(0).numpy()
    assert relative(turned, wrong) > 0.3


def test_the_fewest_slices_enclose_the_atoms_symmetrically():
    atoms = Specimen(np.array([[-3.0, 0, 0], [4.1, 0, 0]]), np.array([6, 6]), np.zeros(2))
    num_slices, entrance = enclosing_slab(atoms, 1.5)
    assert num_slices == 5
    assert entrance == pytest.approx(0.55 - 3.75)
    flat = Specimen(np.zeros((1, 3)), np.array([6]), np.zeros(1))
    assert enclosing_slab(flat, 1.0) == (1, -0.5)


def test_an_unknown_integration_is_refused(specimen):
    with pytest.raises(Exception, match="integration"):
        slices_of(specimen, "exact")
