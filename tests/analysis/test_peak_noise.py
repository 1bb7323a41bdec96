"""Noise makes no significant peaks, whatever its distribution; atoms do, where they stand out."""

import numpy as np
import pytest
import scipy.ndimage
from gaussian_particles import gaussian_atoms, random_packing

from dptt.analysis.atom_matching import match_atoms
from dptt.analysis.atoms import trace_atoms

SHAPE, VOXEL_SIZE = (61, 66, 71), (0.4, 0.4, 0.4)


def significant(atoms):
    return atoms.significance > atoms.noise.level


def white(rng):
    return rng.normal(size=SHAPE)


def coloured(rng):
    return scipy.ndimage.gaussian_filter(rng.normal(size=SHAPE), 1.0)


def clipped(rng):
    """Noise of a reconstruction that must not be negative and is drawn towards zero."""
    return np.maximum(scipy.ndimage.gaussian_filter(rng.normal(size=SHAPE), 0.7) - 0.1, 0)


def smeared(rng):
    """Noise that is smeared along the beam, as by a missing wedge."""
    return scipy.ndimage.gaussian_filter1d(rng.normal(size=SHAPE), 3.0, axis=0)


@pytest.mark.parametrize("make", [white, coloured, clipped, smeared])
def test_noise_has_peaks_but_none_is_significant(make):
    counts, peaks = [], []
    for seed in range(4):
        atoms = trace_atoms(
            make(np.random.default_rng(seed)), VOXEL_SIZE, min_separation=1.5, threshold=1e-3, max_atoms=150
        )
        counts.append(significant(atoms).sum())
        peaks.append(len(atoms.positions))
    assert min(peaks) > 100, "as a tracer without judgement would report"
    assert sum(counts) <= 1


@pytest.mark.parametrize("seed", range(3))
def test_atoms_that_stand_out_are_significant_and_peaks_of_noise_around_them_are_not(seed):
    rng = np.random.default_rng(seed)
    positions = random_packing(100, 8.0, 2.3, rng)
    volume = gaussian_atoms(SHAPE, VOXEL_SIZE, positions, np.full(100, 10.0), width=0.45) + rng.normal(size=SHAPE)
    atoms = trace_atoms(volume, VOXEL_SIZE, threshold=1.0, max_atoms=320)
    assert len(atoms.positions) > 300
    match = match_atoms(atoms.positions[significant(atoms)], positions, 0.7)
    assert match.recall == 1 and match.precision > 0.98
    assert 0.2 < atoms.noise.vacuum_fraction < 0.95


def test_noise_is_measured_in_the_vacuum_and_not_in_the_specimen():
    rng = np.random.default_rng(0)
    positions = random_packing(100, 8.0, 2.3, rng)
    noise = rng.normal(size=SHAPE)
    alone = trace_atoms(noise, VOXEL_SIZE, min_separation=1.5).noise
    for height in (10.0, 30.0, 300.0):
        volume = gaussian_atoms(SHAPE, VOXEL_SIZE, positions, np.full(100, height), width=0.45) + noise
        judged = trace_atoms(volume, VOXEL_SIZE, min_separation=1.5).noise
        assert judged.sigma == pytest.approx(alone.sigma, rel=0.15)
    assert alone.vacuum_fraction == 1


def test_the_level_grows_with_the_number_of_voxels():
    levels = [trace_atoms(np.zeros((n, n, n)), VOXEL_SIZE).noise.level for n in (10, 100)]
    assert levels[0] == pytest.approx(3.89, abs=0.01) and levels[1] == pytest.approx(5.33, abs=0.01)


def test_a_specimen_that_fills_the_volume_is_said_to_leave_no_vacuum():
    rng = np.random.default_rng(0)
    corner = np.stack(np.meshgrid(*[np.arange(-15, 16, 2.5)] * 3, indexing="ij"), -1).reshape(-1, 3)
    volume = gaussian_atoms(SHAPE, VOXEL_SIZE, corner, np.full(len(corner), 10.0), width=0.45)
    atoms = trace_atoms(volume + 0.2 * rng.normal(size=SHAPE), VOXEL_SIZE)
    assert atoms.noise.vacuum_fraction == 1
    assert np.isfinite(atoms.significance).all()
