"""Particles of Gaussian atoms with known everything, and a missing wedge, for the tests of the analysis."""

import numpy as np
from scipy.spatial.transform import Rotation


def random_packing(num_atoms, radius, min_separation, rng):
    """Positions (n, 3) in a sphere, no two closer than the separation."""
    positions = np.zeros((0, 3))
    while len(positions) < num_atoms:
        candidate = rng.uniform(-radius, radius, 3)
        distances = np.linalg.norm(positions - candidate, axis=1)
        if np.linalg.norm(candidate) < radius and distances.min(initial=np.inf) >= min_separation:
            positions = np.vstack([positions, candidate])
    return positions


def gaussian_atoms(shape, voxel_size, positions, heights, width=0.5):
    """Volume (z, y, x) of Gaussians at positions [Å] from voxel n // 2."""
    z, y, x = (
        np.exp(-0.5 * (((np.arange(n) - n // 2) * size - positions[:, d, None]) / width) ** 2)
        for d, (n, size) in enumerate(zip(shape, voxel_size, strict=True))
    )
    volume = np.zeros(shape)
    for some in np.array_split(np.arange(len(positions)), len(positions) // 500 + 1):
        planes = np.einsum("n,ny,nx->nyx", np.asarray(heights)[some], y[some], x[some])
        volume += np.tensordot(z[some], planes, axes=(0, 0))
    return volume


def keep_measured_frequencies(volume, voxel_size, tilt_angles):
    """Volume without its missing wedge: k is kept if some tilt between the first and last brings it to k_z = 0."""
    kz, ky, kx = np.meshgrid(
        *(np.fft.fftfreq(n, size) for n, size in zip(volume.shape, voxel_size, strict=True)), indexing="ij"
    )
    k_xyz = np.stack([kx, ky, kz], axis=-1).reshape(-1, 3)
    side = [
        np.sign(np.round(k_xyz @ Rotation.from_euler("y", angle, degrees=True).as_matrix()[2], 12))
        for angle in tilt_angles
    ]
    measured = np.zeros(len(k_xyz), dtype=bool)
    for one, next_one in zip(side, side[1:], strict=False):
        measured |= one * next_one <= 0
    return np.fft.ifftn(np.fft.fftn(volume) * measured.reshape(volume.shape)).real
