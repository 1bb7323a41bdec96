"""What is as large as a volume is counted: a volume of 1024³ voxels takes 4 GiB, and so does every copy of it."""

import tracemalloc

import numpy as np
import pytest
from gaussian_particles import gaussian_atoms, random_packing

from dptt.analysis import fourier_planes, grid
from dptt.analysis.atoms import trace_atoms
from dptt.analysis.directional_correlation import whole_and_directional_correlation
from dptt.analysis.half_sets import randomise_phases
from dptt.analysis.registration import register_rigid
from dptt.analysis.resampling import shift_volume
from dptt.analysis.spectrum import power_spectrum
from dptt.analysis.translation import register_translation

SIZE = (0.4, 0.35, 0.5)
DIRECTIONS = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, -1.0], [0.3, -1.0, 0.2]])


@pytest.fixture
def in_small_pieces(monkeypatch):
    monkeypatch.setattr(fourier_planes, "LEAST_BYTES", 0)
    monkeypatch.setattr(grid, "SLAB_VOXELS", 2**14)


def plain_correlation(a, b, axis, half_angle, width):
    """FSC of whole transforms within a cone, straight from its definition; all directions without an axis."""
    k = np.stack(np.meshgrid(*(np.fft.fftfreq(n, d) for n, d in zip(a.shape, SIZE, strict=True)), indexing="ij"))
    length = np.linalg.norm(k, axis=0)
    shell = np.rint(length / width).astype(int)
    if axis is not None:
        cosine = np.abs(np.einsum("d,dzyx->zyx", axis / np.linalg.norm(axis), k))
        inside = (cosine >= np.cos(np.radians(half_angle)) * length * (1 - 1e-12)) & (length > 0)
        shell = np.where(inside, shell, shell.max() + 1)
    a, b = np.fft.fftn(a), np.fft.fftn(b)
    cross, power_a, power_b = (
        np.bincount(shell.ravel(), x.ravel()) for x in ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2)
    )
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(cross / np.sqrt(power_a * power_b)), np.bincount(shell.ravel())


@pytest.mark.parametrize("shape", [(31, 27, 35), (30, 27, 35), (31, 28, 34), (30, 28, 34), (1, 28, 5)])
@pytest.mark.parametrize("kind", [np.float32, np.complex64])
def test_correlation_in_blocks_of_frequencies_is_that_of_whole_transforms(shape, kind, in_small_pieces):
    rng = np.random.default_rng(0)
    a = rng.normal(size=shape) + 1j * rng.normal(size=shape) * (kind == np.complex64)
    b = a + rng.normal(size=shape)
    a, b = ((v if kind == np.complex64 else v.real).astype(kind) for v in (a, b))
    curves = whole_and_directional_correlation(a, b, SIZE, DIRECTIONS)
    width = curves[0].frequency[1]
    for axis, curve in zip((None, *DIRECTIONS), curves, strict=True):
        expected, counts = plain_correlation(a.astype(complex), b.astype(complex), axis, 20.0, width)
        shells = slice(len(curve.frequency))
        assert len(curve.frequency) > 4 or shape[0] == 1
        np.testing.assert_array_equal(curve.num_voxels, counts[shells])
        np.testing.assert_allclose(curve.correlation, expected[shells], atol=1e-12)


def particle(shape):
    rng = np.random.default_rng(1)
    positions = random_packing(30, 8.0, 2.5, rng)
    volume = gaussian_atoms(shape, SIZE, positions, np.full(30, 20.0)) + rng.normal(size=shape)
    return volume.astype(np.float32), shift_volume(volume, np.array([0.3, -0.2, 0.1]), SIZE).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("most", "compute"),
    [
        (1.0, lambda a, b: whole_and_directional_correlation(a, b, SIZE, DIRECTIONS[:2])),
        (1.0, lambda a, b: power_spectrum(a, SIZE)),
        (3.4, lambda a, b: trace_atoms(a, SIZE, min_separation=2.0)),
        (2.3, lambda a, b: register_translation(a, b, SIZE)),
        (1.2, lambda a, b: shift_volume(a, np.ones(3), SIZE)),
        (2.9, lambda a, b: register_rigid(a, b, SIZE, max_iterations=2)),
        (2.3, lambda a, b: randomise_phases(a, SIZE, 0.5, seed=0)),
    ],
    ids=["correlation", "spectrum", "atoms", "translation", "shift", "rigid motion", "random phases"],
)
def test_arrays_beside_the_volumes_are_few(most, compute, in_small_pieces):
    """In float32 volumes, some planes included; a whole transform in double precision would be four of them."""
    a, b = particle((95, 96, 97))
    tracemalloc.start()
    try:
        compute(a, b)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most * a.nbytes
