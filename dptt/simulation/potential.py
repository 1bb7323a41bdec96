"""The electrostatic potential of a specimen: projected slices for the multislice, voxels for the ground truth.

Every atom is five Gaussians (`scattering`), and a Gaussian is a product of three profiles, along z, y and x. Sums
over atoms of such products are matrix products, slice by slice: V_s = sum_g w_sg Y_g ⊗ X_g. The slices of the
simulation take Fourier profiles, so they are the exact potential up to the grid's Nyquist frequency and nothing
beyond; the voxels of the ground truth take averages over the voxel, so they do not ring and add up to the true total.
"""

import math
from typing import Literal

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from dptt.simulation.scattering import potential_gaussians
from dptt.simulation.specimen import Specimen

Integration = Literal["projected", "finite"]
_NEGLIGIBLE = 1e-12
"""Part of a Gaussian in a slice or plane that is left out; far below float32 and below the test of the total."""


def project_slices(
    specimen: Specimen,
    *,
    shape: tuple[int, int],
    sampling: tuple[float, float],
    num_slices: int,
    slice_thickness: float,
    entrance: float,
    integration: Integration = "projected",
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "slice y x"]:
    """Return the potential projected along the beam, slice by slice [V Å], band-limited to the grid.

    Parameters
    ----------
    specimen
        Atoms in the microscope's frame (`Specimen.tilted`).
    shape, sampling
        Pixels (y, x) and their size [Å]. The rotation axis is at index n//2; the grid repeats periodically, so it
        is a cell or reaches 8 Å beyond the atoms.
    num_slices, slice_thickness, entrance
        Slice s fills [entrance + s t, entrance + (s + 1) t] of z' [Å]. The first and the last slice also hold
        all that lies before and behind: no potential is lost.
    integration
        "projected": an atom is wholly in the slice of its centre; "finite": each slice holds its share of the atom.

    Raises
    ------
    ValueError
        An element without scattering factors, or an unknown `integration`.
    """
    if integration not in ("projected", "finite"):
        raise ValueError(f"integration is {integration!r}; expected 'projected' or 'finite'")
    gaussians = _Gaussians(specimen)
    faces = entrance + slice_thickness * np.arange(1, num_slices)
    ky, kx = np.fft.fftfreq(shape[0], sampling[0]), np.fft.rfftfreq(shape[1], sampling[1])
    complex_dtype = torch.complex128 if dtype == torch.float64 else torch.complex64
    slices = torch.empty((num_slices, *shape), dtype=dtype, device=device)
    below = gaussians.part_below(faces[0], integration) if len(faces) else np.ones(len(gaussians.integrals))
    part = below
    for index in range(num_slices):
        if index > 0:
            above = gaussians.part_below(faces[index], integration) if index < num_slices - 1 else np.ones_like(below)
            part, below = above - below, above
        inside = np.flatnonzero(part > _NEGLIGIBLE)
        rows = _fourier_profile(gaussians, inside, 1, ky, shape[0], sampling[0], complex_dtype, device)
        columns = _fourier_profile(gaussians, inside, 2, kx, shape[1], sampling[1], complex_dtype, device)
        weights = torch.from_numpy(part[inside] * gaussians.integrals[inside]).to(device, complex_dtype)
        slices[index] = torch.fft.irfft2((rows * weights[:, None]).T @ columns, s=shape)
    return slices / (sampling[0] * sampling[1])


def sample_volume(
    specimen: Specimen,
    shape: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
    *,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "z y x"]:
    """Return the potential averaged over each voxel [V]; voxel centres are at (i - n//2) d.

    Averages, not band-limited samples: an average is not negative where the potential is not, its sum over any block
    of voxels is the true integral over that block, and atoms keep place and total however coarse the voxel.
    """
    gaussians = _Gaussians(specimen)
    volume = torch.zeros(shape, dtype=torch.float64)
    edges = [(np.arange(n + 1) - n // 2 - 0.5) * d for n, d in zip(shape, voxel_size, strict=True)]
    order = np.argsort(gaussians.positions[:, 0], kind="stable")
    for chunk in np.array_split(order, math.ceil(len(order) / 8192)):
        profile_z, profile_y, profile_x = (
            torch.diff(gaussians.cumulative(chunk, axis, edges[axis]), dim=1) for axis in range(3)
        )
        profile_z *= torch.from_numpy(gaussians.integrals[chunk])[:, None]
        present = profile_z.abs() > _NEGLIGIBLE * profile_z.abs().max()
        for plane in torch.nonzero(present.any(0)).flatten().tolist():
            rows = present[:, plane]
            volume[plane] += (profile_y[rows] * profile_z[rows, plane, None]).T @ profile_x[rows]
    return (volume / math.prod(voxel_size)).to(dtype)


class _Gaussians:
    """All Gaussians of all atoms, flattened: positions (g, 3), integrals (g,) [V Å³], spreads sigma (g,) [Å]."""

    def __init__(self, specimen: Specimen) -> None:
        integrals, variances = potential_gaussians(specimen.atomic_numbers, specimen.rms_displacements)
        self.positions = np.repeat(specimen.positions, integrals.shape[1], axis=0)
        self.integrals = integrals.ravel()
        self.spreads = np.sqrt(variances).ravel()

    def cumulative(self, which: np.ndarray, axis: int, edges: np.ndarray) -> Float[Tensor, "gaussian edge"]:
        """Part of each Gaussian below each coordinate `edges` [Å] along an axis."""
        distance = (edges[None, :] - self.positions[which, axis, None]) / (math.sqrt(2) * self.spreads[which, None])
        return 0.5 * torch.special.erfc(-torch.from_numpy(distance))

    def part_below(self, face: float, integration: Integration) -> np.ndarray:
        """Part of each Gaussian before a plane z' = `face` [Å]."""
        if integration == "projected":
            return (self.positions[:, 0] < face).astype(np.float64)
        return self.cumulative(np.arange(len(self.spreads)), 0, np.array([face])).numpy()[:, 0]


def _fourier_profile(
    gaussians: _Gaussians,
    which: np.ndarray,
    axis: int,
    k: np.ndarray,
    length: int,
    spacing: float,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Complex[Tensor, "gaussian k"]:
    """Return exp(-2 pi i k r - 2 pi² sigma² k²), r measured from the corner of the grid."""
    frequency = torch.from_numpy(k).to(device)
    position = torch.from_numpy(gaussians.positions[which, axis] + length // 2 * spacing).to(device)
    spread = torch.from_numpy(gaussians.spreads[which]).to(device)
    magnitude = torch.exp(-2 * (math.pi * spread[:, None] * frequency) ** 2)
    profile = torch.polar(magnitude, -2 * math.pi * position[:, None] * frequency)
    if length % 2 == 0:  # the Nyquist frequency stands for both signs, whose mean is real
        profile.imag[:, length // 2] = 0
    return profile.to(dtype)


def enclosing_slab(specimen: Specimen, slice_thickness: float, margin: float = 0.0) -> tuple[int, float]:
    """Return (num_slices, entrance [Å]) of the fewest slices that hold all atoms and `margin` [Å] around them."""
    low, high = specimen.positions[:, 0].min() - margin, specimen.positions[:, 0].max() + margin
    num_slices = max(1, math.ceil((high - low) / slice_thickness - 1e-9))
    return num_slices, float((low + high - num_slices * slice_thickness) / 2)
